"""A pass over calibration data in which layers tell their inputs."""

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kprune import calibration
from kprune._keras import hooks, private
from kprune._masking import masked_weights
from kprune._masking.locations import Location
from kprune._masking.weight import Weight
from kprune._second_order.layer_inputs import gram_matrices, readers
from kprune._support import memory
from kprune._support.typing import Array


def observe(
    weights: Sequence[Weight],
    data: calibration.Calibration,
    hold_out: bool = True,
    before: Mapping[Weight, Array] | None = None,
) -> dict[int, gram_matrices.SplitGram]:
    """Accumulates the Gram matrix of each weight's inputs, in inference mode.

    Positions behind a Keras mask do not count, and samples count by their weights. A layer without
    a reader is taken to have uncorrelated inputs of power one, and a warning says so.

    Args:
        weights: masked weights of the model.
        data: calibration data; labels are not needed.
        hold_out: keep every fifth sample apart, to check on.
        before: weights that have been pruned already, with the values that they had. The model is
            then called twice, so that inputs now meet those of the model that is to be kept.

    Returns:
        The Gram matrices, by the `id` of the weight's variable.

    Raises:
        ValueError: inputs of a layer hold NaN or infinity, or their Gram matrix is larger than the
            machine's memory.
    """
    found = {id(weight.variable): _make_empty(weight) for weight in weights}
    known: dict[int, tuple[Any, list[Weight]]] = {}
    unread: list[Weight] = []
    for weight in weights:
        layer = find_called_layer(weight.location)
        if readers.find_reader(layer) is None:
            unread.append(weight)
        else:
            known.setdefault(id(layer), (layer, []))[1].append(weight)
    batch: calibration.Batch | None = None
    earlier: list[readers.Rows] = []  # of a batch, in the order of the calls
    first = False  # whether the model is as it was before

    def note(layer: Any, taken: Mapping[str, readers.Rows]) -> None:
        for weight in known[id(layer)][1]:
            rows = taken.get(weight.variable.name)
            if rows is None:
                if taken and weight not in unread:  # a bias, which only a filter makes prunable
                    unread.append(weight)
            elif first:
                earlier.append(rows)
            elif batch is not None:
                old = earlier.pop(0) if before else None
                _add_rows(found[id(weight.variable)], rows, old, batch, hold_out)

    def forward(given: calibration.Batch) -> None:
        nonlocal batch, first
        batch = given
        if before:
            first = True
            with masked_weights.temporary_values(before):
                data.model(given.x, training=False)
        first = False
        data.model(given.x, training=False)

    with _note_inputs([layer for layer, _ in known.values()], note):
        for given, _ in data.map(forward, f"{data.caller}: inputs of {len(weights)} weights"):
            _count_samples(found, given, hold_out)
    for weight in unread:
        _assume_uncorrelated(weight, found[id(weight.variable)])
    for split in found.values():
        for gram in (split.fit, split.held_out):
            if gram.total is not None and not np.isfinite(gram.total).all():
                raise ValueError(
                    f"The inputs of {gram.path} hold NaN or infinity; expected finite numbers. "
                    "Check the weights before it with kprune.report(model) and numpy.isfinite."
                )
    return found


def group_in_order(weights: Sequence[Weight], data: calibration.Calibration) -> list[list[Weight]]:
    """Groups weights by layer, in the order in which data flows through the layers.

    Args:
        weights: masked weights of the model.
        data: calibration data, of which one sample is used.
    """
    layers = {
        id(find_called_layer(weight.location)): find_called_layer(weight.location)
        for weight in weights
    }
    order: dict[int, None] = {}
    with hooks.observe_calls(list(layers.values()), lambda layer, *_: order.setdefault(id(layer))):
        batch = next(iter(data))
        data.model(keras.tree.map_structure(lambda array: array[:1], batch.x), training=False)
    places = [*order, *(layer for layer in layers if layer not in order)]
    return [[w for w in weights if id(find_called_layer(w.location)) == place] for place in places]


def find_called_layer(location: Location) -> keras.layers.Layer:
    """Returns the layer whose calls show a weight's inputs: for a cell, the layer that steps it."""
    around = [owner for owner in location.owners if isinstance(owner, keras.layers.RNN)]
    return around[-1] if around and around[-1].cell is location.layer else location.layer


@contextlib.contextmanager
def _note_inputs(layers: Sequence[Any], note: Callable[[Any, Any], None]) -> Iterator[None]:
    """Reads the inputs of layers at each call, everything run eagerly."""

    def reading(layer: Any, read: readers.Reader) -> Callable[..., Any]:
        names = list(inspect.signature(layer.call).parameters)

        def call(original: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
            taken = read(layer, x, {**dict(zip(names[1:], args, strict=False)), **kwargs})
            mask = private.time_mask(x)
            note(layer, {name: _apply_time_mask(rows, mask) for name, rows in taken.items()})
            return original(x, *args, **kwargs)

        return call

    eager = tf.config.functions_run_eagerly()
    with contextlib.ExitStack() as stack:
        for layer in layers:
            read = readers.find_reader(layer)
            if read is not None:
                stack.enter_context(hooks.replace_call(layer, reading(layer, read)))
        tf.config.run_functions_eagerly(True)  # a call under `tf.function` shows no values
        stack.callback(tf.config.run_functions_eagerly, eager)
        yield


def _apply_time_mask(rows: readers.Rows, mask: Any) -> readers.Rows:
    """Leaves out positions behind a Keras mask, where the layer is called with one."""
    if mask is None or rows.present is not None or mask.shape != rows.values.shape[:2]:
        return rows
    return readers.Rows(rows.values, rows.group, tf.cast(mask, tf.float32))


def _add_rows(
    split: gram_matrices.SplitGram,
    rows: readers.Rows,
    before: readers.Rows | None,
    batch: calibration.Batch,
    hold_out: bool,
) -> None:
    samples, positions = rows.values.shape[:2]
    weight = np.ones((samples, positions))
    if rows.present is not None:
        weight = weight * np.asarray(rows.present, np.float64)
    held = np.zeros(samples, bool)
    if samples == batch.size:  # else a layer mixes samples and positions, and none can be told
        weight = weight * sample_weights(batch, positions)
        held = batch.held_out & hold_out
    _validate_size(split.fit, rows)
    for gram, chosen in ((split.fit, ~held), (split.held_out, held)):
        if chosen.any():
            old = None if before is None else _select_samples(before, chosen)
            gram.add(_select_samples(rows, chosen), weight[chosen], old)


def _select_samples(rows: readers.Rows, chosen: Array) -> readers.Rows:
    values = np.asarray(rows.values)
    return readers.Rows(values if chosen.all() else values[chosen], rows.group)


def _count_samples(
    found: dict[int, gram_matrices.SplitGram], batch: calibration.Batch, hold_out: bool
) -> None:
    held = batch.held_out & hold_out
    weight = sample_weights(batch, 1)[:, 0]
    for split in found.values():
        split.fit.samples += float(weight[~held].sum())
        split.held_out.samples += float(weight[held].sum())


def sample_weights(batch: calibration.Batch, positions: int) -> Array:
    """Returns the weight of each sample, or each of its positions: [samples, positions or 1]."""
    given = [array for array in keras.tree.flatten(batch.sample_weight) if array is not None]
    if not given:
        return np.ones((batch.size, 1))
    arrays = [np.asarray(array, np.float64).reshape(batch.size, -1) for array in given]
    fits = [a if a.shape[1] == positions else a.mean(1, keepdims=True) for a in arrays]
    total: Array = sum(fits[1:], start=fits[0]) / len(fits)
    return total


def _make_empty(weight: Weight) -> gram_matrices.SplitGram:
    matrix = weight.view.matrix(np.broadcast_to(np.zeros((), bool), weight.view.shape))
    rows, columns = matrix.shape
    fit, held_out = (
        gram_matrices.Gram(weight.path, rows, np.zeros(columns, np.int64)) for _ in range(2)
    )
    return gram_matrices.SplitGram(fit, held_out)


def _assume_uncorrelated(weight: Weight, split: gram_matrices.SplitGram) -> None:
    for gram in (split.fit, split.held_out):
        gram.total = np.full(gram.rows, gram.samples / 2)
    warnings.warn(
        f"{weight.path}: the inputs of a {type(weight.location.layer).__name__} cannot be read, "
        "and count as uncorrelated, of power one. A reader for this layer is a function in "
        "kprune.criteria.READERS; kprune.wrap(model, exclude=...) leaves it out.",
        stacklevel=2,
    )


def _validate_size(gram: gram_matrices.Gram, rows: readers.Rows) -> None:
    if gram.total is not None or len(rows.values.shape) < 4:
        return
    *_, groups, size = rows.values.shape
    if size != gram.rows:
        raise ValueError(
            f"The reader of {gram.path} gives rows of {size} values; its matrix has {gram.rows} "
            "rows. Mend the reader in kprune.criteria.READERS."
        )
    memory.require(
        8 * groups * size**2,
        f"{gram.path} has {size:,} inputs; their Gram matrix",
        f"Leave it out with kprune.wrap(model, exclude={gram.path!r}), or use a criterion without "
        'Gram matrices, such as "magnitude".',
    )
