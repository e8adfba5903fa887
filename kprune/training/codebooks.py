"""Clusters numbers by k-means.

In one dimension the clusters are intervals. With sorted values and their cumulative sums, each
iteration of Lloyd's algorithm takes k steps, however many values there are.
"""

import math
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from kprune._support import signatures, validation
from kprune._support.typing import Array

__all__ = ["Initialization", "assign", "fit", "ratio"]

Initialization: TypeAlias = Literal["linear", "density", "random"]

INITIALIZATIONS: tuple[Initialization, ...] = get_args(Initialization)
MAX_ITERATIONS = 300  # it ends earlier if no boundary moves past a value


@signatures.explained
def fit(
    values: Array, clusters: int, initialization: Initialization = "linear", seed: int = 0
) -> Array:
    """Returns the centroids of a k-means clustering of numbers.

    Use it for the survivors of a pruned layer; `kprune.training.share_weights` does so for a model.

    `minimise sum_i (w_i - c_a(i))^2`, a(i) the nearest centroid

    Args:
        values: floating [n], any shape, none of them infinite or NaN.
        clusters: k, how many centroids; there are fewer if there are fewer distinct values.
        initialization: where the centroids start. "linear", evenly from the smallest value to the
            largest, is best in the paper: it keeps the few large weights, which matter most.
            "density" spaces them evenly along the cumulative distribution, "random" draws them
            from the values.
        seed: the seed of the random initialization.

    Returns:
        The centroids, ascending, float64 [k or fewer].

    Raises:
        TypeError: the values are no numbers.
        ValueError: `clusters` below 1, an unknown initialization, or values that are not finite.

    Example:
        >>> fit(np.array([-1.0, -0.9, 0.1, 0.0, 2.1, 1.9]), clusters=3).round(3).tolist()
        [-0.95, 0.05, 2.0]

    Reference:
        Han, Mao and Dally, Deep Compression, 2016. Unlike there, an empty
        cluster takes half of the cluster with the greatest error.
    """
    validation.require_whole(clusters, "clusters", write=32)
    validation.require_choice(initialization, "initialization", INITIALIZATIONS)
    validation.require_whole(seed, "seed", minimum=0)
    ordered = np.sort(_as_numbers(values, "values"), axis=None)
    if not len(ordered):
        return ordered
    if not np.isfinite(ordered[[0, -1]]).all():  # NaN is sorted to the end
        raise ValueError(
            "a value is infinite or NaN; expected finite ones. "
            "Write values[np.isfinite(values)] for the rest."
        )
    centroids = _start(ordered, clusters, initialization, seed)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    squares = np.concatenate([[0.0], np.cumsum(ordered**2)])
    bounds = _find_bounds(ordered, centroids)
    for _ in range(MAX_ITERATIONS):
        bounds = np.unique(bounds)  # an empty cluster is dropped
        counts = np.diff(bounds)
        centroids = np.diff(sums[bounds]) / counts
        before, bounds = bounds, _find_bounds(ordered, centroids)
        if np.array_equal(bounds, before):
            errors = np.diff(squares[bounds]) - counts * centroids**2
            splits = _find_splits(ordered, bounds, centroids, errors, clusters - len(centroids))
            if not len(splits):
                break
            bounds = np.sort(np.append(bounds, splits))
    return centroids


@signatures.explained
def assign(values: Array, centroids: Array) -> Array:
    """Returns the index of the nearest centroid for each value; of two equally near, the lower.

    Args:
        values: any shape.
        centroids: ascending [k].

    Example:
        >>> assign(np.array([0.2, 0.9]), np.array([0.0, 1.0])).tolist()
        [0, 1]
    """
    centroids = _as_numbers(centroids, "centroids")
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, _as_numbers(values, "values"))


@signatures.explained
def ratio(size: int, clusters: int, bits: int = 32) -> float:
    """Returns how many times smaller weights become by a codebook, without further coding.

    `n b / (n log2 k + k b)`

    Args:
        size: n, how many weights there are.
        clusters: k, how many centroids.
        bits: b, how many bits a weight or a centroid has.

    Example:
        >>> ratio(size=16, clusters=4, bits=32)
        3.2

    Reference:
        Han, Mao and Dally, Deep Compression, 2016.
    """
    validation.require_whole(size, "size", write=266_200)
    validation.require_whole(clusters, "clusters", write=32)
    validation.require_whole(bits, "bits", write=32)
    return size * bits / (size * math.log2(clusters) + clusters * bits)


def _as_numbers(values: Any, name: str) -> Array:
    """Returns values as float64; raises TypeError if they are no numbers."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name}={validation.describe_kind(values)}; expected numbers. "
            f"Write {name}=numpy.asarray(weights)."
        )
    return array.astype(np.float64)


def _find_bounds(ordered: Array, centroids: Array) -> Array:
    """Returns where the sorted values of each centroid begin and end, [k + 1]."""
    between = (centroids[1:] + centroids[:-1]) / 2
    inner = np.searchsorted(ordered, between, side="right")  # as `assign`
    return np.concatenate([[0], inner, [len(ordered)]])


def _find_splits(ordered: Array, bounds: Array, means: Array, errors: Array, wanted: int) -> Array:
    """Returns where to split clusters at their means, those of the greatest error first.

    Pruned weights have no small values, so many of evenly spaced centroids are empty.
    """
    begins, ends = bounds[:-1], bounds[1:]
    varied = np.flatnonzero(ordered[begins] < ordered[ends - 1])
    worst = varied[np.argsort(-errors[varied], kind="stable")][:wanted]
    middles = np.searchsorted(ordered, means[worst], side="right")
    return np.clip(middles, begins[worst] + 1, ends[worst] - 1)  # means are rounded


def _start(ordered: Array, clusters: int, initialization: str, seed: int) -> Array:
    if initialization == "linear":
        return np.linspace(ordered[0], ordered[-1], clusters)
    if initialization == "density":
        return np.quantile(ordered, np.linspace(0, 1, clusters))
    drawn = np.random.default_rng(seed).choice(ordered, min(clusters, len(ordered)), replace=False)
    return np.sort(drawn)
