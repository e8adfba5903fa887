"""Finds the masked weights of a model, and writes their masks and values."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import keras
from keras import ops

from kprune._keras import backend, models, optimizers, state, walk
from kprune._masking import locations, masks, pruned_layer
from kprune._masking.weight import Weight
from kprune._support import signatures
from kprune._support.typing import Array

_UPDATES = "mask_updates"
_LAST_STEP = "last_mask_step"


@signatures.explained
def find(model: keras.layers.Layer) -> list[Weight]:
    """Returns the masked weights of a model, each once, in the order of its layers.

    Use it to look at masks and values yourself, or to write a criterion of your own. Any variable
    leads to its mask, so submodels and shared layers are found in one walk.

    Args:
        model: a model or layer, wrapped or not.

    Returns:
        The weights; none where the model is not wrapped.

    Example:
        >>> model = kprune.wrap(model)
        >>> [weight.path for weight in kprune.masked_weights(model)]
        ['lenet/dense/kernel', 'lenet/dense_1/kernel']
    """
    models.require_layer(model, "kprune.masked_weights(model)")
    for layer in walk.layers(model):
        pruned_layer.complete(layer)
    constraints = (masks.on_mask(each.variable) for each in locations.locate(model))
    return [each.weight for each in constraints if each is not None]


def require(model: keras.layers.Layer) -> list[Weight]:
    """Returns the masked weights of a model that is expected to have some.

    Raises:
        ValueError: the model has none.
    """
    models.require_layer(model, "kprune.wrap(model)")
    found = find(model)
    if not found:
        models.require_built(model, "kprune.wrap(model)")
        require_kernels(model)
        raise ValueError(
            f"{model.name} has no masks; expected a wrapped model. "
            "Write kprune.wrap(model) before this line."
        )
    return found


def require_kernels(model: keras.layers.Layer) -> None:
    """Raises ValueError if Keras has quantized kernels that had masks."""
    quantized = [each.name for each in walk.layers(model) if models.quantization(each) is not None]
    if quantized:
        holders = (masks.attached(each) for each in masks.holders(model))
        had_masks = sum(len(each.variables) for each in holders if each is not None)
        if had_masks > len(find(model)):
            raise ValueError(
                f"{', '.join(quantized)} of {model.name} were quantized while wrapped, so "
                "their masks belong to kernels that are gone; expected a model that is stripped "
                'before model.quantize("int8"). Write kprune.strip(model): zeros stay zero.'
            )


@signatures.explained
def project(model: keras.layers.Layer) -> None:
    """Puts every masked weight back on its mask.

    The optimizer does this after each of its updates. Call it after values came from elsewhere:
    `set_weights`, an average of weights, an update that no Keras optimizer made.

    `w <- where(mask, w, 0)`

    Args:
        model: a model or layer, wrapped or not.

    Example:
        >>> kprune.project(model)
    """
    models.require_layer(model, "kprune.project(model)")
    for weight in find(model):
        weight.write()
    project_averages(model)


def project_averages(model: keras.layers.Layer) -> None:
    """Puts the moving averages of an optimizer with `use_ema` on the masks.

    So what Keras makes of them is pruned too: at the end of a fit, in an evaluation
    (`SwapEMAWeights`) and in a file.
    """
    pairs = optimizers.find_averages(model)
    masked = {id(weight.variable) for weight in find(model)} if pairs else set()
    for variable, average in pairs:
        if id(variable) in masked:
            _put_average_on_mask(variable, average)


@contextlib.contextmanager
def temporary_values(values: Mapping[Weight, Array]) -> Iterator[None]:
    """Lets weights have other values during a block.

    Example:
        >>> before = model.evaluate(x, y, verbose=0)
        >>> weight = kprune.masked_weights(model)[0]
        >>> with temporary_values({weight: np.zeros(weight.variable.shape)}):
        ...     loss = model.evaluate(x, y, verbose=0)
    """
    held = {weight: backend.copy(weight.variable) for weight in values}
    try:
        for weight, array in values.items():
            weight.variable.assign(keras.ops.cast(array, weight.variable.dtype))
        yield
    finally:
        for weight, before in held.items():
            weight.variable.assign(before)


@contextlib.contextmanager
def restored_on_error(weights: Sequence[Weight]) -> Iterator[Mapping[Weight, Array]]:
    """Restores masks and values where a block that writes several times fails.

    Yields:
        The values as they were.
    """
    masks_before = {weight: weight.alive().copy() for weight in weights}
    values_before = {weight: weight.values().copy() for weight in weights}
    try:
        yield values_before
    except BaseException:
        for weight, values in values_before.items():
            weight.write(masks_before[weight], values)
        raise


def count_updates(model: keras.layers.Layer) -> int:
    """Returns how often the masks of a model were updated in this process."""
    return int(state.get(model, _UPDATES, 0))


def note_update(model: keras.layers.Layer) -> None:
    """Counts an update of the masks of a model."""
    state.put(model, _UPDATES, count_updates(model) + 1)
    project_averages(model)


def last_step(model: keras.layers.Layer) -> int | None:
    """Returns the schedule's step of the last mask update; `None` before the first."""
    step: int | None = state.get(model, _LAST_STEP)
    return step


def set_last_step(model: keras.layers.Layer, step: int | None) -> None:
    """Notes the schedule's step at which the masks were updated; `None` forgets it."""
    if step is None:
        state.forget(model, _LAST_STEP)
    else:
        state.put(model, _LAST_STEP, step)


def _put_average_on_mask(variable: keras.Variable, average: keras.Variable) -> None:
    held = masks.on_mask(variable)
    if held is not None:
        average.assign(ops.where(held.weight.mask.value, average.value, 0))


optimizers.extend_averages(_put_average_on_mask)
