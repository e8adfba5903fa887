"""Reads what optimizers keep to themselves."""

from typing import Any

import keras

from kprune._keras import backend


def innermost(optimizer: Any) -> Any:
    """Returns the optimizer that makes the updates: behind loss scaling, the one it wraps."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def of_variable(optimizer: Any, variable: keras.Variable) -> Any:
    """Returns the optimizer that updates a variable: of a `MultiOptimizer`, one of its own."""
    optimizer = innermost(optimizer)
    if not isinstance(optimizer, keras.optimizers.MultiOptimizer):
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
    held = keras.tree.flatten([value for name, value in vars(model).items() if name[0] != "_"])
    return any(
        isinstance(each, keras.optimizers.Optimizer) and id(each) not in known for each in held
    )
