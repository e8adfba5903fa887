"""Observes the inputs of layers in a pass over calibration data."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kprune import calibration
from kprune._keras import backend, hooks, private
from kprune._masking import masked_weights
from kprune._masking.locations import Location
from kprune._masking.weight import Weight
from kprune._second_order.layer_inputs import gram_matrices, readers
from kprune._support import memory, warning
from kprune._support.typing import Array


def observe(
    weights: Sequence[Weight],
    data: calibration.Calibration,
    hold_out: bool = True,
    before: Mapping[Weight, Array] | None = None,
) -> dict[int, gram_matrices.SplitGram]:
    """Accumulates the Gram matrix of each weight's inputs, in inference mode.

    Positions that a Keras mask excludes do not count, and samples count by their weights. The
    inputs of a layer without a reader are assumed to be uncorrelated with power one, with a
    warning.

    Args:
        weights: masked weights of the model.
        data: calibration data; labels are not needed.
        hold_out: whether every fifth sample is held out.
        before: weights that have been pruned already, with their earlier values. The model is then
            called twice for each batch, to multiply the present inputs by the earlier ones.

    Returns:
        The Gram matrices, by the `id` of the weight's variable.

    Raises:
        ValueError: the inputs of a layer contain NaN or infinity, or a reader returns rows of the
            wrong size.
        MemoryError: a Gram matrix takes more than half of the machine's memory.
    """
    splits = {id(weight.variable): _make_empty(weight) for weight in weights}
    observed: dict[int, tuple[Any, list[Weight]]] = {}
    unread: list[Weight] = []
    for weight in weights:
        layer = find_called_layer(weight.location)
        if readers.find_reader(layer) is None:
            unread.append(weight)
        else:
            observed.setdefault(id(layer), (layer, []))[1].append(weight)
    batch: calibration.Batch | None = None
    earlier: list[readers.Rows] = []  # the inputs of the dense model, in the order of the calls
    is_earlier = False  # whether the model has its earlier values

    def note(layer: Any, rows_of: Mapping[str, readers.Rows]) -> None:
        for weight in observed[id(layer)][1]:
            rows = rows_of.get(weight.variable.name)
            if rows is None:
                if rows_of and weight not in unread:  # a bias that a filter names
                    unread.append(weight)
            elif is_earlier:
                earlier.append(rows)
            elif batch is not None:
                earlier_rows = earlier.pop(0) if before else None
                _add_rows(splits[id(weight.variable)], rows, earlier_rows, batch, hold_out)

    def forward(next_batch: calibration.Batch) -> None:
        nonlocal batch, is_earlier
        batch = next_batch
        if before:
            is_earlier = True
            with masked_weights.temporary_values(before):
                data.model(batch.x, training=False)
        is_earlier = False
        data.model(batch.x, training=False)

    with _note_inputs([layer for layer, _ in observed.values()], note):
        what = f"{data.caller}: inputs of {len(weights)} weights"
        for observed_batch, _ in data.map(forward, what):
            _count_samples(splits, observed_batch, hold_out)
    for weight in unread:
        _assume_uncorrelated(weight, splits[id(weight.variable)])
    for split in splits.values():
        for gram in (split.fit, split.held_out):
            if gram.total is not None and not np.isfinite(gram.total).all():
                raise ValueError(
                    f"The inputs of {gram.path} hold NaN or infinity; expected finite numbers. "
                    "Check the weights before it with kprune.report(model) and numpy.isfinite."
                )
    return splits


def group_in_order(weights: Sequence[Weight], data: calibration.Calibration) -> list[list[Weight]]:
    """Groups weights by layer, in the order in which data flows through the layers.

    Args:
        weights: masked weights of the model.
        data: calibration data; one sample of it is used.
    """
    layers = {
        id(find_called_layer(weight.location)): find_called_layer(weight.location)
        for weight in weights
    }
    order: dict[int, None] = {}
    with hooks.observe_calls(list(layers.values()), lambda layer, *_: order.setdefault(id(layer))):
        batch = next(iter(data))
        data.model(keras.tree.map_structure(lambda array: array[:1], batch.x), training=False)
    ids = [*order, *(layer_id for layer_id in layers if layer_id not in order)]
    return [
        [weight for weight in weights if id(find_called_layer(weight.location)) == layer_id]
        for layer_id in ids
    ]


def find_called_layer(location: Location) -> keras.layers.Layer:
    """Returns the layer that is called with a weight's inputs: for a cell, its recurrent layer."""
    recurrent = [owner for owner in location.owners if isinstance(owner, keras.layers.RNN)]
    return recurrent[-1] if recurrent and recurrent[-1].cell is location.layer else location.layer


@contextlib.contextmanager
def _note_inputs(layers: Sequence[Any], note: Callable[[Any, Any], None]) -> Iterator[None]:
    """Notes the inputs of layers at each call during a block, in which all code runs eagerly."""

    def make_call(layer: Any, reader: readers.Reader) -> Callable[..., Any]:
        names = list(inspect.signature(layer.call).parameters)

        def call(original: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
            rows_of = reader(layer, x, {**dict(zip(names[1:], args, strict=False)), **kwargs})
            mask = private.time_mask(x)
            note(layer, {name: _as_arrays(rows, mask) for name, rows in rows_of.items()})
            return original(x, *args, **kwargs)

        return call

    with contextlib.ExitStack() as stack:
        for layer in layers:
            reader = readers.find_reader(layer)
            if reader is not None:
                stack.enter_context(hooks.replace_call(layer, make_call(layer, reader)))
        stack.enter_context(backend.eagerly())  # inside a compiled function there are no values
        yield


def _as_arrays(rows: readers.Rows, mask: Any) -> readers.Rows:
    """Returns rows as arrays, without the positions that a Keras mask excludes."""
    values = backend.to_numpy(rows.values)
    present = None if rows.present is None else backend.to_numpy(rows.present)
    if mask is not None and present is None and tuple(mask.shape) == values.shape[:2]:
        present = backend.to_numpy(mask).astype(np.float32)
    return readers.Rows(values, rows.group, present)


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
        weight = weight * rows.present.astype(np.float64)
    is_held_out = np.zeros(samples, bool)
    if samples == batch.size:  # else the layer mixes samples and positions
        weight = weight * broadcast_sample_weights(batch, positions)
        is_held_out = batch.held_out & hold_out
    _validate_size(split.fit, rows)
    for gram, selected in ((split.fit, ~is_held_out), (split.held_out, is_held_out)):
        if selected.any():
            earlier = None if before is None else _select_samples(before, selected)
            gram.add(_select_samples(rows, selected), weight[selected], earlier)


def _select_samples(rows: readers.Rows, selected: Array) -> readers.Rows:
    values = rows.values
    return readers.Rows(values if selected.all() else values[selected], rows.group)


def _count_samples(
    splits: dict[int, gram_matrices.SplitGram], batch: calibration.Batch, hold_out: bool
) -> None:
    is_held_out = batch.held_out & hold_out
    weight = broadcast_sample_weights(batch, 1)[:, 0]
    for split in splits.values():
        split.fit.samples += float(weight[~is_held_out].sum())
        split.held_out.samples += float(weight[is_held_out].sum())


def broadcast_sample_weights(batch: calibration.Batch, positions: int) -> Array:
    """Returns the weight of each sample, or of each position, [samples, positions or 1]."""
    given = [array for array in keras.tree.flatten(batch.sample_weight) if array is not None]
    if not given:
        return np.ones((batch.size, 1))
    arrays = [backend.to_numpy(array).astype(np.float64).reshape(batch.size, -1) for array in given]
    columns = [a if a.shape[1] == positions else a.mean(1, keepdims=True) for a in arrays]
    mean: Array = sum(columns[1:], start=columns[0]) / len(columns)
    return mean


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
    warning.warn(
        f"{weight.path}: the inputs of a {type(weight.location.layer).__name__} cannot be read, "
        "and count as uncorrelated, of power one. A reader for this layer is a function in "
        "kprune.criteria.READERS; kprune.wrap(model, exclude=...) leaves it out.",
    )


def _validate_size(gram: gram_matrices.Gram, rows: readers.Rows) -> None:
    if gram.total is not None or len(rows.values.shape) < 4:
        return
    *_, groups, size = rows.values.shape
    if size != gram.rows:
        raise ValueError(
            f"The reader of {gram.path} returns rows of {size} values; its matrix has {gram.rows} "
            "rows. Correct the reader in kprune.criteria.READERS."
        )
    memory.require(
        8 * groups * size**2,
        f"{gram.path} has {size:,} inputs; their Gram matrix",
        f"Leave it out with kprune.wrap(model, exclude={gram.path!r}), or use a criterion without "
        'Gram matrices, such as "magnitude".',
    )
