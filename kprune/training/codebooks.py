"""Codebooks: a few values that stand for many, by k-means on a line.

On a line the clusters are intervals. Sorted once, with their sums added up, the values give each
iteration of Lloyd's algorithm in k steps, however many values there are.
"""

import math

import numpy as np

from kprune._support.typing import Array

INITIALIZATIONS = ("linear", "density", "random")
MAX_ITERATIONS = 300  # at most; where no boundary moves past a value, it ends before


def fit(values: Array, clusters: int, initialization: str = "linear", seed: int = 0) -> Array:
    """Returns the centroids of a k-means clustering of numbers.

    Use it for the survivors of a pruned layer; `kprune.training.share_weights` does so for a model.

    `minimise sum_i (w_i - c_a(i))^2`, a(i) the nearest centroid

    Args:
        values: floating [n], any shape, none of them infinite or NaN.
        clusters: k, how many centroids; fewer where there are fewer different values.
        initialization: where the centroids start. "linear", evenly from the smallest value to the
            largest, is best in the paper: it keeps the few large weights, which matter most.
            "density" spaces them evenly along the cumulative distribution, "random" draws them
            from the values.
        seed: of the random initialization.

    Returns:
        The centroids, ascending, float64 [k or fewer].

    Raises:
        ValueError: no cluster, an unknown initialization, or values that are not finite.

    Example:
        >>> fit(np.array([-1.0, -0.9, 0.1, 0.0, 2.1, 1.9]), clusters=3).round(3).tolist()
        [-0.95, 0.05, 2.0]

    Reference:
        Han, Mao and Dally, Deep Compression, 2016. Beyond it, an empty cluster takes half of the
        one that errs most.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    if clusters < 1:
        raise ValueError(f"clusters={clusters}; expected at least 1. Write clusters=32.")
    if initialization not in INITIALIZATIONS:
        names = ", ".join(f'"{name}"' for name in INITIALIZATIONS)
        raise ValueError(
            f"initialization={initialization!r}; expected one of {names}. "
            'Write initialization="linear".'
        )
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
            more = _find_splits(ordered, bounds, centroids, errors, clusters - len(centroids))
            if not len(more):
                break
            bounds = np.sort(np.append(bounds, more))
    return centroids


def assign(values: Array, centroids: Array) -> Array:
    """Returns the number of the nearest centroid for each value; of two as near the lower.

    Args:
        values: any shape.
        centroids: ascending [k].

    Example:
        >>> assign(np.array([0.2, 0.9]), np.array([0.0, 1.0])).tolist()
        [0, 1]
    """
    centroids = np.asarray(centroids, np.float64)
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)


def compression_ratio(size: int, clusters: int, bits: int = 32) -> float:
    """Returns how many times smaller weights become by a codebook alone.

    `n b / (n log2 k + k b)`

    Args:
        size: n, how many weights there are.
        clusters: k, how many centroids.
        bits: b, of a weight and of a centroid.

    Example:
        >>> compression_ratio(size=16, clusters=4, bits=32)
        3.2

    Reference:
        Han, Mao and Dally, Deep Compression, 2016.
    """
    return size * bits / (size * math.log2(clusters) + clusters * bits)


def _find_bounds(ordered: Array, centroids: Array) -> Array:
    """Where each centroid's values begin and end: it has those nearer to it than to the others."""
    between = (centroids[1:] + centroids[:-1]) / 2
    inner = np.searchsorted(ordered, between, side="right")  # of two as near the lower, as `assign`
    return np.concatenate([[0], inner, [len(ordered)]])


def _find_splits(ordered: Array, bounds: Array, means: Array, errors: Array, wanted: int) -> Array:
    """Where to cut in two, at their means, the clusters that err most, to have as many as wanted.

    Of pruned weights the small ones are gone, so of centroids spread evenly many were empty.
    """
    begins, ends = bounds[:-1], bounds[1:]
    varied = np.flatnonzero(ordered[begins] < ordered[ends - 1])
    worst = varied[np.argsort(-errors[varied], kind="stable")][:wanted]
    middles = np.searchsorted(ordered, means[worst], side="right")
    return np.clip(middles, begins[worst] + 1, ends[worst] - 1)  # a mean is rounded


def _start(ordered: Array, clusters: int, initialization: str, seed: int) -> Array:
    if initialization == "linear":
        return np.linspace(ordered[0], ordered[-1], clusters)
    if initialization == "density":
        return np.quantile(ordered, np.linspace(0, 1, clusters))
    drawn = np.random.default_rng(seed).choice(ordered, min(clusters, len(ordered)), replace=False)
    return np.sort(drawn)
