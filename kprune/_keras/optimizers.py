"""Reads what optimizers keep to themselves."""

import functools
import re
import weakref
from collections.abc import Callable
from typing import Any

import keras

from kprune._keras import backend

_OF_ONE_BACKEND = re.compile(r"keras\.src\.backend\.\w+\.optimizers\.\w+")
_MULTI: Any = getattr(keras.optimizers, "MultiOptimizer", ())  # since Keras 3.15
_have_averaged: weakref.WeakSet[Any] = weakref.WeakSet()


def innermost(optimizer: Any) -> Any:
    """Returns the optimizer that makes the updates: behind loss scaling, the one it wraps."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def of_variable(optimizer: Any, variable: keras.Variable) -> Any:
    """Returns the optimizer that updates a variable: of a `MultiOptimizer`, one of its own."""
    optimizer = innermost(optimizer)
    if not isinstance(optimizer, _MULTI):
        return optimizer
    if optimizer.built:
        index = optimizer._var_to_optimizer_idx[optimizer._var_key(variable)]
        return innermost(optimizer.optimizers[index])
    return innermost(optimizer._optimizer_map(variable))


def trainable_variables(optimizer: Any) -> list[Any]:
    """Returns the variables that an optimizer was built for."""
    return list(optimizer._trainable_variables)


def count_steps(optimizer: Any) -> int:
    """Returns how many updates an optimizer has made; with accumulation, those of the weights."""
    return int(read_count(optimizer.iterations))


def read_count(counted: Any) -> Any:
    """Returns the number in `optimizer.iterations`: a variable, mirrored or not, or a tensor."""
    return (backend.read(counted) if hasattr(counted, "value") else backend.to_numpy(counted))[()]


def update_count(optimizer: Any) -> Any:
    """Returns the tensor that counts updates, those that only accumulate gradients included."""
    return optimizer._iterations.value


def learning_rate(optimizer: Any) -> Any:
    """Returns the learning rate as it was given: a schedule to be called, or a variable."""
    return optimizer._learning_rate


def updates_unseen(model: keras.Model) -> bool:
    """Returns whether a model's own optimizer does not tell all of its updates.

    So it is where it has none, or keeps others as attributes, as a GAN does.
    """
    own = getattr(model, "optimizer", None)
    if own is None:
        return True
    known = {id(own), id(innermost(own))}
    return any(id(each) not in known for each in of_model(model))


def is_of_one_backend(module: str, name: str) -> bool:
    """Returns whether a file names a class that Keras has for one backend beside the public one.

    Keras on torch writes `keras.src.backend.torch.optimizers.torch_adam` for `keras.optimizers`.
    """
    return _OF_ONE_BACKEND.fullmatch(module) is not None and hasattr(keras.optimizers, name)


def averages(optimizer: Any) -> list[tuple[Any, Any]]:
    """Returns the variables of which an optimizer keeps moving averages, each with its average."""
    optimizer = innermost(optimizer)
    if isinstance(optimizer, _MULTI):
        return [pair for each in optimizer.optimizers for pair in averages(each)]
    if not getattr(optimizer, "use_ema", False) or not optimizer.built:
        return []
    pairs = zip(
        optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True
    )
    return [(variable, average) for variable, average in pairs if average is not None]


def find_averages(model: Any) -> list[tuple[Any, Any]]:
    """Returns variables and their averages, of a model's optimizers and of all that have averaged.

    The optimizer of a user's own loop does not hang on the model; it is known since its first step.
    """
    distinct = {id(each): each for each in (*of_model(model), *_have_averaged)}
    return [pair for optimizer in distinct.values() for pair in averages(optimizer)]


def of_model(model: Any) -> list[Any]:
    """Returns the optimizers that a model holds: the one it is compiled with, and attributes."""
    held = keras.tree.flatten([value for name, value in vars(model).items() if name[0] != "_"])
    own = [getattr(model, "optimizer", None), *held]
    distinct = {id(each): each for each in own if isinstance(each, keras.optimizers.Optimizer)}
    return list(distinct.values())


def extend_averages(put_on_mask: Callable[[Any, Any], None]) -> None:
    """Calls a function with each variable and its moving average, whenever that has changed.

    An optimizer with `use_ema` averages variables before it applies their constraints, and gives
    them their averages at the end of a `fit`.

    Args:
        put_on_mask: gets the variable and its average; runs inside the compiled step too.
    """

    def change(self: Any) -> None:
        pairs = averages(self)
        if pairs:
            _have_averaged.add(self)
        for variable, average in pairs:
            put_on_mask(variable, average)

    _extend("_update_model_variables_moving_average", lambda *_: None, change)
    _extend("finalize_variable_values", change, lambda *_: None)


def _extend(name: str, before: Callable[[Any], None], after: Callable[[Any], None]) -> None:
    """Extends a method of all optimizers that has one argument."""
    original = getattr(keras.optimizers.Optimizer, name)
    if getattr(original, "is_extended_by_kprune", False):  # this module was imported again
        original = original.__wrapped__

    @functools.wraps(original)
    def call(self: Any, variables: Any) -> None:
        before(self)
        original(self, variables)
        after(self)

    call.is_extended_by_kprune = True  # type: ignore[attr-defined]
    setattr(keras.optimizers.Optimizer, name, call)
