"""`wrap` and `strip`: masks onto a model and off it again, the model itself unchanged."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import keras

from kprune import curvature, patterns, proximal, slots, weights, wrappers

L = TypeVar("L", bound=keras.layers.Layer)


def wrap(
    model: Any,
    include: weights.Filter | Sequence[weights.Filter] | None = None,
    exclude: weights.Filter | Sequence[weights.Filter] | None = None,
    classes: weights.Classes = "layer",
    pattern: Any = "unstructured",
) -> Any:
    """Puts a mask beside every prunable weight of a model, in place.

    Use it once, on any built Keras model: Functional, Sequential, subclassed, nested, KerasHub.
    Its class, name, compiled state, weights and predictions stay as they are, and whatever trains
    it from now on keeps pruned weights at zero. Nothing is pruned yet: exact zeros that are there
    already stay zero. A second call adds what the first left out, each with its own pattern.
    A layer that is no model becomes a `Pruned` layer.

    Args:
        model: a built model, or a layer.
        include: which kernels and embeddings; a regex searched in the variable's path, a layer, a
            class of layers, or a list of these. A callable of the variable may name a weight that
            is called neither, and a variable names itself, a bias too. Default: all.
        exclude: which of them not, in the same terms.
        classes: how weights group into classes for the allocation: "layer", "weight", "kind", a
            mapping from class to regex, or a callable.
        pattern: what is cut as one piece: a `kprune.patterns.Pattern` or its name.

    Returns:
        The same model; or a `Pruned` layer.

    Raises:
        TypeError: the model is not of Keras 3.
        ValueError: the model is not built, a filter matches nothing, or a weight is already
            wrapped with another pattern.

    Example:
        >>> kprune.wrap(model, exclude="dense_1", pattern="2:4")
    """
    _check_keras(model)
    pattern = patterns.get(pattern)
    if not isinstance(model, keras.Model):
        return model if isinstance(model, wrappers.Pruned) else wrappers.Pruned(model, pattern)
    _check_built(model)
    chosen, _ = weights.survey(model, include, exclude)
    if not chosen:
        raise ValueError(
            f"{model.name} has no kernel to prune; expected floating variables of two axes or more "
            'whose names end in "kernel" or "embeddings". Name others with '
            'kprune.wrap(model, include=lambda variable: variable.name == "...").'
        )
    labels = weights.labels(chosen, classes)
    new = []
    for site, label in zip(chosen, labels, strict=True):
        held = site.variable.constraint
        if not isinstance(held, wrappers.OnMask):
            new.append((site, label))
        elif held.weight.pattern != pattern:
            raise ValueError(
                f"{site.path} is wrapped already, with pattern {held.weight.pattern}; got "
                f"{pattern}. Write kprune.strip(model) first."
            )
    if new:
        masks = wrappers.masks_of(model) or wrappers.Masks()
        try:
            with wrappers.scope(model):
                for site, label in new:
                    masks.add(site, label, pattern)
        except BaseException:
            for site, _ in new:
                if isinstance(site.variable.constraint, wrappers.OnMask):
                    site.variable.constraint = site.variable.constraint.weight.constraint
            raise
        wrappers.attach(model, masks)
        _forget_traces(model)
    return model


def strip(model: L) -> L:
    """Takes the masks off again and leaves a plain, sparse Keras model.

    Use it after the last training step, before saving or serving. The weights are put on their
    masks a last time, the user's constraints come back, and nothing of kprune remains.

    Args:
        model: a wrapped model, or a model with `Pruned` layers, or a `Pruned` layer.

    Returns:
        The same model; where there are `Pruned` layers in a graph of layers, a model of the same
        class, name and compiled state that shares the layers they wrapped: write
        `model = kprune.strip(model)`, which is right in every case.

    Example:
        >>> model = kprune.strip(model)
    """
    _check_keras(model)
    proximal.remove(model)
    _take_off(model)
    for layer in model._flatten_layers():
        slots.clear(layer)
        wrappers.forget(layer, wrappers.CUTS, wrappers.MADE_AT, wrappers.INITIAL_RATE)
    _forget_traces(model)
    return wrappers.replace_pruned(model)  # type: ignore[return-value]


@contextlib.contextmanager
def stripped(model: L) -> Iterator[L]:
    """Takes the masks off for the duration of a block, and puts them back after it.

    Use it to save or export in the middle of a training. `Pruned` layers stay where they are:
    without masks they pass their layer's result through.

    Example:
        >>> with kprune.wrapping.stripped(model) as plain:
        ...     plain.save("plain.keras")
    """
    held = wrappers.present(model)
    masks = [(owner, wrappers.masks_of(owner)) for owner in wrappers.holders(model)]
    _take_off(model)
    try:
        yield model
    finally:
        for owner, each in masks:
            wrappers.attach(owner, each)  # type: ignore[arg-type]
        for weight in held:
            weight.variable.constraint = wrappers.OnMask(weight)


def _take_off(model: keras.layers.Layer) -> None:
    wrappers.project(model)
    for weight in wrappers.present(model):
        weight.variable.constraint = weight.constraint
    for owner in list(wrappers.holders(model)):
        wrappers.detach(owner)


def _forget_traces(model: Any) -> None:
    """Drops a model's compiled functions: they were traced with other constraints."""
    wrappers.forget(model, curvature.objective.TRACES)
    for name in ("train_function", "test_function", "predict_function"):
        if getattr(model, name, None) is not None:
            setattr(model, name, None)


def _check_keras(model: Any) -> None:
    if keras.backend.backend() != "tensorflow":
        raise TypeError(
            f"Keras runs on {keras.backend.backend()}; expected TensorFlow. Set the environment "
            "variable KERAS_BACKEND=tensorflow before the first import of keras."
        )
    if isinstance(model, keras.layers.Layer):
        return
    legacy = any(
        each.__module__.startswith(("tf_keras", "keras.src.legacy")) for each in type(model).__mro__
    )
    what = "a legacy tf_keras model" if legacy else f"a {type(model).__name__}"
    hint = (
        "Build it with `import keras` in place of `import tf_keras`, and do not set "
        "TF_USE_LEGACY_KERAS."
        if legacy
        else "Write kprune.wrap(keras.Sequential([...]))."
    )
    raise TypeError(f"Got {what}; expected a model or layer of Keras 3. {hint}")


def _check_built(model: keras.Model) -> None:
    if not model.built or not model.weights:
        raise ValueError(
            f"{model.name} is not built, so it has no weights to prune yet. Call it once before "
            "kprune.wrap: model.build(input_shape), or model(x) with a batch x."
        )
