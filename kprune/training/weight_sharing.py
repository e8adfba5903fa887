"""Weight sharing: the survivors of a layer take few values, and are trained as so many numbers.

The weights themselves say which belong together: those that are equal. So nothing has to be stored
beside them, and a training that is stopped goes on from its weights alone.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kprune._keras import gradients
from kprune._masking import masked_weights
from kprune._masking.weight import Weight
from kprune._support import tables
from kprune._support.typing import Array
from kprune.training import codebooks

Bits: TypeAlias = int | Mapping[str, int] | Callable[[Weight], int]

MAX_DISTINCT_VALUES = 4096  # distinct values, or else a weight counts as not shared


@dataclasses.dataclass(frozen=True)
class SharedWeight:
    """What `share` made of one weight.

    Args:
        path: of the weight.
        kept: how many survivors there are.
        clusters: how many values they have now.
        error: the norm of what changed, in units of the norm before.
    """

    path: str
    kept: int
    clusters: int
    error: float


@dataclasses.dataclass(frozen=True)
class SharingReport:
    """What `share` made of a model; `print` shows it as a table.

    Args:
        weights: one entry for each.
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
        """Returns the fields as JSON takes them."""
        return dataclasses.asdict(self)


def share_weights(
    model: keras.Model, bits: Bits = 5, initialization: str = "linear", seed: int = 0
) -> SharingReport:
    """Gives the survivors of each masked weight the values of a codebook, by k-means.

    Use it after pruning and retraining, then train the values on with
    `kprune.callbacks.WeightSharing`, and write the model with `kprune.export.save_compressed`.
    Zeros stay zeros and take no place in the codebook.

    Args:
        model: a wrapped model.
        bits: `2 ** bits` values for each weight, bits from 1 to 12; or a mapping from the weights'
            class to bits; or a function of the weight, such as
            `lambda weight: 8 if weight.location.kind == "convolution" else 5`, as in the paper.
        initialization: where the centroids start: "linear", "density" or "random".
        seed: of the random initialization.

    Returns:
        What became of each weight.

    Raises:
        ValueError: the model is not wrapped, an unknown initialization, bits outside 1 to 12, a
            class without bits, or a weight that is not finite. The model is then what it was.

    Example:
        >>> print(kprune.training.share_weights(model, bits=5))

    Reference:
        Han, Mao and Dally, Deep Compression, 2016.
    """
    new, entries = {}, []
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


@contextlib.contextmanager
def sharing(model: keras.Model, optimizer: Any = None) -> Iterator[None]:
    """Trains equal survivors of a weight as one number during a block.

    Use it in a training loop of one's own, around what is traced by `tf.function` too; the
    `WeightSharing` callback does this by itself. The gradient of a centroid is the sum of its
    weights' gradients, and each of its weights is given this sum:

    `dL/dc_k = sum_{i: a(i) = k} dL/dw_i`

    So they stay equal under every optimizer that treats each weight by itself and the same: SGD,
    with momentum too, Adam, AdamW, RMSprop, Adagrad, Lion and their like, from fresh slots: compile
    the model anew before it. Others may tear them apart, and `join_clusters` joins them again.

    Args:
        model: a wrapped model with shared weights.
        optimizer: which updates the weights. Default: the model's own.

    Raises:
        ValueError: the model is not wrapped or has no shared weight, or there is no optimizer.

    Example:
        >>> report = kprune.training.share_weights(model, bits=2)
        >>> with kprune.training.sharing(model):
        ...     loss = model.train_on_batch(x, y)
    """
    codes = {
        id(weight.variable): (weight.mask, tf.constant(codes, tf.int32), int(codes.max()) + 1)
        for weight, codes in clusters(model).items()
    }

    def sum_per_cluster(grads: list[Any], variables: list[Any]) -> list[Any]:
        return [
            _sum_per_cluster(gradient, *codes[id(variable)])
            if gradient is not None and id(variable) in codes
            else gradient
            for gradient, variable in zip(grads, variables, strict=True)
        ]

    with gradients.transform(model, optimizer, sum_per_cluster):
        yield


def clusters(model: keras.Model) -> dict[Weight, Array]:
    """Returns, of each shared weight, the number of each value's cluster, -1 where it is pruned.

    Args:
        model: a wrapped model.

    Raises:
        ValueError: the model is not wrapped, or no weight of it is shared.

    Example:
        >>> report = kprune.training.share_weights(model, bits=2)
        >>> codes = list(kprune.training.clusters(model).values())
    """
    found = {}
    for weight in masked_weights.require(model):
        alive = weight.alive()
        distinct, codes = np.unique(weight.values()[alive], return_inverse=True)
        if 0 < len(distinct) <= min(MAX_DISTINCT_VALUES, int(alive.sum()) - 1):
            each = np.full(alive.shape, -1, np.int32)
            each[alive] = codes.reshape(-1)
            found[weight] = each
    if not found:
        raise ValueError(
            f"{model.name} has no shared weight; expected survivors of few values. "
            "Write kprune.training.share_weights(model, bits=5) first."
        )
    return found


def join_clusters(clusters: Mapping[Weight, Array]) -> None:
    """Gives the weights of each cluster their mean: equal ones stay, others are joined again.

    Args:
        clusters: as `clusters` returned them.

    Example:
        >>> report = kprune.training.share_weights(model, bits=2)
        >>> clusters = kprune.training.clusters(model)
        >>> kprune.training.join_clusters(clusters)
    """
    for weight, codes in clusters.items():
        alive = (codes >= 0) & weight.alive()
        survivors, weights = weight.values()[alive].astype(np.float64), codes[alive]
        # The mean of equal values, rounded to float32, is that value.
        means = np.bincount(weights, survivors) / np.maximum(np.bincount(weights), 1)
        values = np.zeros(codes.shape)
        values[alive] = means[weights]
        weight.write(values=values)


def _sum_per_cluster(gradient: Any, mask: keras.Variable, codes: Any, count: int) -> Any:
    """Gives each survivor the sum over the survivors of its cluster, and a pruned weight none."""
    gradient = tf.convert_to_tensor(gradient)
    zero = tf.zeros([], gradient.dtype)
    here = tf.logical_and(mask.value, codes >= 0)
    codes = tf.where(here, codes, -1)
    sums = tf.math.unsorted_segment_sum(gradient, codes, count)
    return tf.where(here, tf.gather(sums, tf.maximum(codes, 0)), zero)


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
    if not 1 <= count <= 12:
        raise ValueError(f"bits={count}; expected 1 to 12. Write bits=5.")
    return int(count)
