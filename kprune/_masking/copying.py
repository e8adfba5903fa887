"""Keeps masks on copies: `copy.copy`, `copy.deepcopy` and `pickle` of wrapped models."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kprune import patterns
from kprune._keras import pickling, walk
from kprune._masking import locations, masks, pruned_layer
from kprune._support.typing import Array


@dataclasses.dataclass(frozen=True)
class _MaskCopy:
    """A mask on its way to a copy: its place in the order of layers and variables, and its bits."""

    holder: int
    variable: int
    shape: tuple[int, ...]
    label: str
    pattern: patterns.Pattern
    kept_at_wrap: int
    floor: int
    bits: Array


def _describe(model: keras.layers.Layer) -> tuple[list[_MaskCopy], dict[int, patterns.Pattern]]:
    """Returns the masks of a model, and the patterns of single layers that were wrapped."""
    layers = walk.layers(model)
    found = []
    holder_of = {
        id(mask): place
        for place, layer in enumerate(layers)
        for mask in getattr(masks.attached(layer), "weights", ())
    }
    for place, location in enumerate(locations.locate(model)):
        held = masks.on_mask(location.variable)
        if held is not None:
            weight = held.weight
            found.append(
                _MaskCopy(
                    holder_of.get(
                        id(weight.mask), 0
                    ),  # a mask held outside goes to the copy itself
                    place,
                    tuple(weight.variable.shape),
                    weight.label,
                    weight.pattern,
                    weight.kept_at_wrap,
                    weight.floor,
                    np.packbits(weight.alive()),
                )
            )
    marked = {place: pruned_layer.pattern_of(layer) for place, layer in enumerate(layers)}
    return found, {place: pattern for place, pattern in marked.items() if pattern is not None}


def _restore(
    reduced: tuple[Any, ...], copied: list[_MaskCopy], marked: dict[int, patterns.Pattern]
) -> keras.layers.Layer:
    """Makes the copy that Keras makes, and puts the masks on it."""
    function, arguments = reduced
    model = function(*arguments)
    layers, variables = walk.layers(model), list(locations.locate(model))
    for each in copied:
        if (
            each.variable >= len(variables)
            or tuple(variables[each.variable].variable.shape) != each.shape
        ):
            raise ValueError(
                f"The copy of {model.name} has other variables than the model, so that its masks "
                "cannot be put on it; expected a model whose config builds the same variables. "
                "Write plain = kprune.strip(model), copy that, and kprune.wrap the copy."
            )
    for each in copied:
        holder = masks.attached(layers[each.holder]) or masks.Masks()
        weight = holder.add(
            variables[each.variable], each.label, each.pattern, each.kept_at_wrap, each.floor
        )
        size = int(np.prod(each.shape))
        weight.write(np.unpackbits(each.bits, count=size).astype(bool).reshape(each.shape))
        masks.attach(layers[each.holder], holder)
    for place, pattern in marked.items():
        pruned_layer.mark(layers[place], pattern)
    return model


def _extend(layer: keras.layers.Layer, reduced: Any) -> Any:
    copied, marked = _describe(layer)
    return (_restore, (reduced, copied, marked)) if copied or marked else reduced


def install() -> None:
    """Lets copies and pickles of every layer and model keep their masks."""
    pickling.extend_reduce(_extend)
