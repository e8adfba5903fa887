"""Makes models trace their compiled functions again, after what they compute has changed."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

from kprune._keras import state, walk

_FUNCTIONS = "train", "test", "predict"
_TRACES = "traces"


def forget(*changed: keras.layers.Layer) -> None:
    """Makes every model that shares a layer with the given ones trace its functions again.

    Call it wherever what a model computes, or how its variables are constrained, has changed. A
    model that was compiled or fitted before, and holds a changed layer anywhere in it, would
    otherwise go on as it was traced. Keras's functions are made anew, rather than removed, so that
    a `fit` that is running, and a `predict` in another thread, find one.

    Args:
        changed: layers or models.
    """
    for model in walk.models_sharing(changed):
        state.forget(model, _TRACES)
        for name in _FUNCTIONS:
            if getattr(model, f"{name}_function", None) is not None:
                _make_anew(model, name)


def forget_at_exit(*changed: keras.layers.Layer) -> Callable[..., None]:
    """Returns a callback for `ExitStack.push` that calls `forget` when a block ends.

    Not so where a generator that holds the block is collected unfinished: its models go with it.
    """

    def leave(kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not GeneratorExit:
            forget(*changed)

    return leave


def _make_anew(model: keras.Model, name: str) -> None:
    make = getattr(model, f"make_{name}_function")
    if "force" in inspect.signature(make).parameters:
        make(force=True)
    else:  # a user's own, which looks whether there is one
        setattr(model, f"{name}_function", None)
        make()


def traces(model: keras.Model) -> dict[Any, Callable[..., Any]]:
    """Returns kprune's own compiled functions of a model, none after it was compiled anew."""
    loss, functions = state.get(model, _TRACES, (None, {}))
    if loss is not model._compile_loss:
        functions = {}
        state.put(model, _TRACES, (model._compile_loss, functions))
    found: dict[Any, Callable[..., Any]] = functions
    return found
