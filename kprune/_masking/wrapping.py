"""Puts masks on a model, in place, and takes them off again."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import keras

from kprune import patterns
from kprune._keras import backend, compiled, fits, models, state, walk
from kprune._masking import (
    copying,
    filter_validation,
    filters,
    locations,
    lora,
    masked_weights,
    masks,
    pruned_layer,
)
from kprune._support import signatures, validation

L = TypeVar("L", bound=keras.layers.Layer)

copying.install()


@signatures.explained
def wrap(
    model: L,
    include: filters.Filter | Sequence[filters.Filter] | None = None,
    exclude: filters.Filter | Sequence[filters.Filter] | None = None,
    classes: filters.Classes = "layer",
    pattern: patterns.Pattern | patterns.PatternName = "unstructured",
    floor: int = 0,
) -> L:
    """Puts a mask beside every prunable weight of a model, in place.

    Use it once, on any built Keras model: Functional, Sequential, subclassed, nested, KerasHub.
    Its class, name, compiled state, weights and predictions stay as they are, and whatever trains
    it from now on keeps pruned weights at zero, a model that holds it and was compiled before too.
    Nothing is pruned yet: exact zeros that are there already stay zero. A second call adds what
    the first left out, each with its own pattern. A layer that is no model, built or not, gets
    masks for all of its kernels; one that has none is an error, or a warning once it is built.

    `w <- where(mask, w, 0)` after every update of the optimizer.

    Args:
        model: a built model, or a layer.
        include: which kernels and embeddings: whole parts of the variable's path ("dense_1" is not
            dense_10), a regex that is searched in it ("dense_.*"), a layer, a class of layers, or a
            list of these. The own name of a weight that is called neither, or a callable of the
            variable, takes that too; a variable names itself, a bias too. Default: all.
        exclude: which of them not, in the same terms.
        classes: how weights group into classes for the allocation: "layer", "weight", "kind", a
            mapping from class to such a pattern, or a callable.
        pattern: what is pruned as one piece: a `kprune.patterns.Pattern` or its name.
        floor: how many values of each weight no pruning takes away, those of the highest scores, so
            that no layer is emptied. Weights of fewer values keep all. Where classes do not compete
            (`class_uniform`), the model then has fewer zeros than asked. For the pattern
            "unstructured" alone. Default: none.

    Returns:
        The same object.

    Raises:
        TypeError: the model is not of Keras 3.
        ValueError: the model is not built, a filter matches nothing, or a weight is already
            wrapped with another pattern.

    Example:
        >>> model = kprune.wrap(model, exclude="dense_1", pattern="2:4")
    """
    models.require_layer(model, "kprune.wrap(model)")
    pattern = patterns.get(pattern)
    filter_validation.validate_filters(include, exclude)
    filter_validation.validate_classes(classes)
    _check_floor(model, pattern, floor)
    if not isinstance(model, keras.Model):
        if include is not None or exclude is not None:
            name, value = ("include", include) if include is not None else ("exclude", exclude)
            raise ValueError(
                f"{name}={validation.describe(value)} came with the layer {model.name}; expected "
                "it with a whole model, for of a layer all kernels get masks. "
                "Write kprune.wrap(layer, pattern=...)."
            )
        return pruned_layer.mark(model, pattern)
    _check_built(model)
    chosen, _ = filters.find_prunable(model, include, exclude)
    if not chosen:
        raise ValueError(
            f"{model.name} has no kernel to prune with include={validation.describe(include)}, "
            f"exclude={validation.describe(exclude)}; expected floating variables of two axes or "
            'more whose names end in "kernel" or "embeddings". For others write '
            f"kprune.wrap(model, include=...): {_list_others(model)}."
        )
    labels = filters.labels(chosen, classes)
    new = []
    for location, label in zip(chosen, labels, strict=True):
        held = masks.on_mask(location.variable)
        if held is None:
            new.append((location, label))
        elif held.weight.pattern != pattern:
            raise ValueError(
                f"{location.path} is wrapped already, with pattern {held.weight.pattern}, which is "
                f"expected again; got pattern {pattern}. Write kprune.strip(model) first."
            )
    if new:
        holder = masks.attached(model) or masks.Masks()
        try:
            with backend.distribution_scope(model):
                for location, label in new:
                    holder.add(location, label, pattern, floor=floor)
        except BaseException:
            for location, _ in new:
                _restore_constraint(location.variable)
            if masks.attached(model) is None:
                holder.release()
            raise
        masks.attach(model, holder)
        compiled.forget(model)
    return model


@signatures.explained
def strip(model: L) -> L:
    """Takes the masks off again and leaves a plain, sparse Keras model.

    Use it after the last training step, before saving or serving. The weights are put on their
    masks a last time, the user's constraints come back, and nothing of kprune remains: not on
    single layers that were wrapped, and not of a `fit` that ended by an error. The compiled state
    and the optimizer's state stay.

    Args:
        model: a wrapped model or layer, or a model that holds wrapped layers.

    Returns:
        The same object.

    Raises:
        TypeError: the model is not of Keras 3.

    Example:
        >>> model = kprune.strip(model)
    """
    models.require_layer(model, "kprune.strip(model)")
    fits.end_dead(model)
    masked_weights.project(model)
    lora.fold(masked_weights.find(model))
    for holder in masks.holders(model):
        attached = masks.attached(holder)
        if attached is not None:
            attached.release()
    for location in locations.locate(model):
        _restore_constraint(location.variable)
    for layer in walk.layers(model):
        pruned_layer.unmark(layer)
        state.drop(layer)
    compiled.forget(model)
    return model


@signatures.explained
@contextlib.contextmanager
def stripped(model: L) -> Iterator[L]:
    """Takes the masks off for the duration of a block, and puts them back after it.

    Use it to save or export a plain model in the middle of a training.

    Args:
        model: a wrapped model.

    Yields:
        The same model, plain.

    Example:
        >>> with kprune.stripped(model) as plain:
        ...     plain.save("plain.keras")
    """
    models.require_layer(model, "with kprune.stripped(model) as plain: ...")
    masked_weights.project(model)
    constraints = [
        (each.variable, each.variable.constraint)
        for each in locations.locate(model)
        if masks.on_mask(each.variable) is not None
    ]
    layers = walk.layers(model)
    adapted = contextlib.ExitStack()
    adapted.enter_context(lora.folded(masked_weights.find(model)))
    for variable, _ in constraints:
        _restore_constraint(variable)
    records = [state.detach(layer) for layer in layers]
    try:
        yield model
    finally:
        adapted.close()
        for layer, record in zip(layers, records, strict=True):
            state.attach(layer, record)
        for variable, constraint in constraints:
            variable.constraint = constraint


def _restore_constraint(variable: keras.Variable) -> None:
    held = masks.on_mask(variable)
    if held is not None:
        variable.constraint = held.weight.constraint


def _check_floor(model: keras.layers.Layer, pattern: patterns.Pattern, floor: int) -> None:
    validation.require_whole(floor, "floor", minimum=0, write=1)
    if floor and not isinstance(pattern, patterns.Unstructured):
        raise ValueError(
            f"floor={floor} came with the pattern {pattern}; expected single values to count. "
            'Write pattern="unstructured", or leave floor out and write '
            'kprune.prune(model, 0.9, allocation="class_uniform").'
        )
    if floor and not isinstance(model, keras.Model):
        raise ValueError(
            f"floor={floor} came with a layer, {model.name}; expected a model. Write "
            "kprune.wrap(model, floor=...) for the model that holds it."
        )


def _list_others(model: keras.Model) -> str:
    others = filters.find_prunable(model)[1]
    names = dict.fromkeys(
        location.variable.name for location, reason in others if reason == filters.OTHER_NAME
    )
    return ", ".join(map(repr, names)) or "it has no such variables of another name either"


def _check_built(model: keras.Model) -> None:
    if not model.built or not model.weights:
        raise ValueError(
            f"{model.name} is not built, so it has no weights to prune yet; expected a model that "
            "knows its inputs. Write model.build(input_shape), or model(x) with a batch x, before "
            "kprune.wrap(model)."
        )
