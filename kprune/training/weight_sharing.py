"""Clusters the survivors of each weight, and trains every cluster as one number.

The weights of a cluster are equal, which is how it is found. So nothing else has to be stored, and
a training can be resumed from its weights alone.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from kprune._keras import gradients
from kprune._masking import masked_weights
from kprune._masking.weight import Weight
from kprune._support import signatures, tables, validation
from kprune._support.typing import Array
from kprune.training import codebooks

__all__ = ["SharedWeight", "SharingReport", "clusters", "join_clusters", "share_weights", "sharing"]

Bits: TypeAlias = int | Mapping[str, int] | Callable[[Weight], int]

MAX_DISTINCT_VALUES = 4096  # a weight with more distinct values is not taken for a shared one


@dataclasses.dataclass(frozen=True)
class SharedWeight:
    """Reports what `share_weights` did to one weight.

    Args:
        path: the path of the weight.
        kept: how many survivors there are.
        clusters: how many distinct values they have now.
        error: the norm of the change, divided by the norm of the weight before.
    """

    path: str
    kept: int
    clusters: int
    error: float


@dataclasses.dataclass(frozen=True)
class SharingReport:
    """Reports what `share_weights` did to a model; `print` shows it as a table.

    Args:
        weights: one entry for each masked weight.
    """

    weights: tuple[SharedWeight, ...]

    def render(self) -> str:
        """Returns the report as a table."""
        rows = [
            [weight.path, f"{weight.kept:,}", f"{weight.clusters:,}", f"{weight.error:.4f}"]
            for weight in self.weights
        ]
        return tables.render("shared weights", ["weight", "kept", "values", "change"], rows)

    __str__ = render

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain dictionaries, lists, strings and numbers."""
        return dataclasses.asdict(self)


@signatures.explained
def share_weights(
    model: keras.Model,
    bits: Bits = 5,
    initialization: codebooks.Initialization = "linear",
    seed: int = 0,
) -> SharingReport:
    """Clusters the survivors of each masked weight by k-means, and sets them to the centroids.

    Use it after pruning and retraining, then train the centroids with
    `kprune.callbacks.WeightSharing`, and write the model with `kprune.export.save_compressed`.
    Zeros stay zeros and are not clustered.

    Args:
        model: a wrapped model.
        bits: `2 ** bits` values for each weight, bits from 1 to 12; or a mapping from the weights'
            class to bits; or a function of the weight, such as
            `lambda weight: 8 if weight.location.kind == "convolution" else 5`, as in the paper.
        initialization: how the centroids are initialized: "linear", "density" or "random".
        seed: the seed of the random initialization.

    Returns:
        A report with the change of each weight.

    Raises:
        ValueError: the model is not wrapped, an unknown initialization, bits outside 1 to 12, a
            class without bits, or a weight that is not finite. The model then stays as it was.

    Example:
        >>> print(kprune.training.share_weights(model, bits=5))

    Reference:
        Han, Mao and Dally, Deep Compression, 2016.
    """
    new, entries = {}, []
    validation.require_whole(seed, "seed", minimum=0)
    for weight in masked_weights.require(model):
        before, alive = weight.values().astype(np.float64), weight.alive()
        survivors = before[alive]
        try:
            book = codebooks.fit(survivors, 1 << _resolve_bits(bits, weight), initialization, seed)
        except ValueError as error:
            raise ValueError(f"{weight.path}: {error}") from error
        after = np.zeros_like(before)
        if len(book):
            after[alive] = book[codebooks.assign(survivors, book)]
        change = np.linalg.norm(after - before) / max(float(np.linalg.norm(before)), 1e-30)
        entries.append(SharedWeight(weight.path, len(survivors), len(book), float(change)))
        new[weight] = after
    for weight, values in new.items():
        weight.write(values=values)
    return SharingReport(tuple(entries))


@signatures.explained
@contextlib.contextmanager
def sharing(model: keras.Model, optimizer: Any = None) -> Iterator[None]:
    """Trains equal survivors of a weight as one number during a block.

    Use it in a training loop of your own, also around the first call of a `tf.function`; the
    `WeightSharing` callback does this by itself. The gradient of a centroid is the sum of its
    weights' gradients, and each of its weights gets this sum:

    `dL/dc_k = sum_{i: a(i) = k} dL/dw_i`

    So they stay equal under every optimizer that treats each weight by itself and the same: SGD,
    also with momentum, Adam, AdamW, RMSprop, Adagrad, Lion and others, with new optimizer state:
    compile the model again before it. Other optimizers may make them differ, and `join_clusters`
    makes them equal again.

    Args:
        model: a wrapped model with shared weights.
        optimizer: the optimizer that updates the model. Default: the one it is compiled with.

    Raises:
        ValueError: the model is not wrapped or has no shared weight, or there is no optimizer.

    Example:
        >>> report = kprune.training.share_weights(model, bits=2)
        >>> with kprune.training.sharing(model):
        ...     loss = model.train_on_batch(x, y)
    """
    shared = {
        id(weight.variable): (weight.mask, codes, int(codes.max()) + 1)
        for weight, codes in clusters(model).items()
    }

    def sum_per_cluster(grads: list[Any], variables: list[Any]) -> list[Any]:
        return [
            _sum_per_cluster(gradient, *shared[id(variable)])
            if gradient is not None and id(variable) in shared
            else gradient
            for gradient, variable in zip(grads, variables, strict=True)
        ]

    with gradients.transform(model, optimizer, sum_per_cluster):
        yield


@signatures.explained
def clusters(model: keras.Model) -> dict[Weight, Array]:
    """Returns for each shared weight the cluster of each value, -1 for pruned ones.

    Use it before a training that may make equal weights differ, and `join_clusters` after it.

    Args:
        model: a wrapped model.

    Returns:
        For each shared weight an array of its shape, int32.

    Raises:
        ValueError: the model is not wrapped, or no weight of it is shared.

    Example:
        >>> report = kprune.training.share_weights(model, bits=2)
        >>> codes = list(kprune.training.clusters(model).values())
    """
    codes = {}
    for weight in masked_weights.require(model):
        alive = weight.alive()
        distinct, indices = np.unique(weight.values()[alive], return_inverse=True)
        if 0 < len(distinct) <= min(MAX_DISTINCT_VALUES, int(alive.sum()) - 1):
            codes[weight] = np.full(alive.shape, -1, np.int32)
            codes[weight][alive] = indices.reshape(-1)
    if not codes:
        raise ValueError(
            f"{model.name} has no shared weight; expected survivors of few values. "
            "Write kprune.training.share_weights(model, bits=5) first."
        )
    return codes


@signatures.explained
def join_clusters(clusters: Mapping[Weight, Array]) -> None:
    """Sets the weights of each cluster to their mean, which leaves equal ones as they are.

    Args:
        clusters: what the function `clusters` returned.

    Raises:
        TypeError: it is something else.

    Example:
        >>> report = kprune.training.share_weights(model, bits=2)
        >>> clusters = kprune.training.clusters(model)
        >>> kprune.training.join_clusters(clusters)
    """
    if not isinstance(clusters, Mapping) or not all(isinstance(key, Weight) for key in clusters):
        raise TypeError(
            f"clusters={validation.describe_kind(clusters)}; expected the clusters of each weight. "
            "Write join_clusters(kprune.training.clusters(model))."
        )
    for weight, codes in clusters.items():
        alive = (codes >= 0) & weight.alive()
        survivors, weights = weight.values()[alive].astype(np.float64), codes[alive]
        # The mean of equal values, rounded to float32, is that value.
        means = np.bincount(weights, survivors) / np.maximum(np.bincount(weights), 1)
        values = np.zeros(codes.shape)
        values[alive] = means[weights]
        weight.write(values=values)


def _sum_per_cluster(gradient: Any, mask: keras.Variable, codes: Any, count: int) -> Any:
    """Replaces each survivor's gradient by the sum over its cluster, and pruned ones by zero."""
    gradient = ops.convert_to_tensor(gradient)
    is_shared = ops.logical_and(mask.value, codes >= 0)
    segments = ops.where(is_shared, codes + 1, 0)  # the first one is that of pruned weights
    sums = ops.segment_sum(ops.reshape(gradient, (-1,)), ops.reshape(segments, (-1,)), count + 1)
    return ops.where(is_shared, ops.take(sums, segments), 0)


def _resolve_bits(bits: Bits, weight: Weight) -> int:
    if isinstance(bits, Mapping):
        if weight.label not in bits:
            raise ValueError(
                f"bits={dict(bits)} has no class {weight.label!r}; expected bits for each class. "
                f"Write bits={{**bits, {weight.label!r}: 5}}."
            )
        count = bits[weight.label]
    else:
        count = bits(weight) if callable(bits) else bits
    return validation.require_whole(count, "bits", write=5, maximum=12)
