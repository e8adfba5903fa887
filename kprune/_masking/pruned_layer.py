"""Marks single layers that get masks once they are built."""

import contextlib
from typing import Any, TypeVar

import keras

from kprune import patterns
from kprune._keras import backend, compiled, hooks, models, state, walk
from kprune._masking import filters, masks
from kprune._support import signatures, warning

L = TypeVar("L", bound=keras.layers.Layer)

_PATTERN, _WAITING = "pattern", "waiting"


class _LayersWithMasks(type):
    """Lets `isinstance(layer, Pruned)` answer for layers, which keep their own class."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, keras.layers.Layer) and pattern_of(instance) is not None


class Pruned(metaclass=_LayersWithMasks):
    """Gives a layer masks of its own, for those who build a model layer by layer.

    Use it inside a model of your own, before the layer is built or after; it is the same as
    `kprune.wrap(layer, pattern=...)`. The layer that comes back is the layer that went in: its
    class, name, config and calls stay what they were, so it works in every container, in a graph
    beside `keras.ops`, and in a file that plain Keras loads. A model that exists already is
    wrapped whole by `kprune.wrap(model)`.

    `w <- where(mask, w, 0)` after every update of the optimizer.

    Args:
        layer: any Keras layer with a kernel.
        pattern: what of its kernels is pruned as one piece: a `kprune.patterns.Pattern` or its
            name.

    Returns:
        The layer. `isinstance(layer, kprune.Pruned)` is true until `kprune.strip`.

    Raises:
        TypeError: what came is no Keras layer.
        ValueError: the layer is built and has no kernel, or is marked with another pattern. If it
            turns out when it is built later, that is a warning.

    Example:
        >>> keras.Sequential([kprune.Pruned(keras.layers.Dense(300)), keras.layers.Dense(10)])
    """

    @signatures.explained
    def __new__(cls, layer: L, pattern: Any = "unstructured") -> L:  # type: ignore[misc]
        """Marks the layer and returns it."""
        if not isinstance(layer, keras.layers.Layer):
            models.require_layer(layer, "kprune.Pruned(keras.layers.Dense(300))")
        return mark(layer, patterns.get(pattern))


def mark(layer: L, pattern: patterns.Pattern) -> L:
    """Gives a layer masks now, if it is built, and otherwise when it has been built.

    Raises:
        ValueError: the layer is marked already, with another pattern, or has no kernel.
    """
    held = pattern_of(layer)
    if held is not None:
        if held != pattern:
            raise ValueError(
                f"{layer.name} is wrapped already, with pattern {held}, which is expected again; "
                f"got {pattern}. Write kprune.strip(layer) first."
            )
        return layer
    if _lacks_kernel(layer):
        raise ValueError(
            f"{_explain_lack(layer)} Write kprune.wrap(model) for all kernels of a model."
        )
    state.put(layer, _PATTERN, pattern)
    if not complete(layer):
        waiting = contextlib.ExitStack()
        waiting.enter_context(hooks.after_build(layer, lambda: _add_masks_after_build(layer)))
        state.put(layer, _WAITING, waiting)
    return layer


def unmark(layer: keras.layers.Layer) -> None:
    """Ends what `mark` has begun on a layer; masks that are there stay."""
    waiting = state.get(layer, _WAITING)
    if waiting is not None:
        waiting.close()
    state.forget(layer, _PATTERN, _WAITING)


def pattern_of(layer: keras.layers.Layer) -> patterns.Pattern | None:
    """Returns the pattern that a layer was marked with, or `None` where it was not."""
    found: patterns.Pattern | None = state.get(layer, _PATTERN)
    return found


def complete(layer: keras.layers.Layer) -> bool:
    """Adds the masks that a marked layer still lacks; returns whether the layer is built.

    A layer that is built inside the symbolic call of another has no values yet: it gets its masks
    when the model is next looked at. Until something is pruned a mask changes nothing.
    """
    if pattern_of(layer) is None or not layer.built:
        return False
    if _add_masks(layer):
        compiled.forget(layer)
    return True


def _lacks_kernel(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer is built, with all layers in it, and has no kernel."""
    is_built = all(each.built for each in walk.layers(layer))
    return is_built and not filters.find_prunable(layer)[0]


def _explain_lack(layer: keras.layers.Layer) -> str:
    return (
        f"{layer.name} is a {type(layer).__name__}, which has no kernel, so nothing of it can be "
        'pruned; expected a layer with variables whose names end in "kernel" or "embeddings".'
    )


def _add_masks_after_build(layer: keras.layers.Layer) -> None:
    """Adds masks to a layer that has been built; warns if it has no kernel."""
    if not _add_masks(layer) and _lacks_kernel(layer):
        warning.warn(f"{_explain_lack(layer)} Write the layer without kprune.Pruned.")


def _add_masks(layer: keras.layers.Layer) -> bool:
    """Adds masks to kernels of a marked layer that have none; returns whether there were any."""
    pattern = pattern_of(layer)
    if pattern is None:
        return False
    chosen = [
        each
        for each in filters.find_prunable(layer)[0]
        if masks.on_mask(each.variable) is None and backend.is_initialized(each.variable)
    ]
    if chosen:
        holder = masks.attached(layer) or masks.Masks()
        for location in chosen:
            holder.add(location, location.path.rsplit("/", 1)[0], pattern)
        masks.attach(layer, holder)
    return bool(chosen)
