"""Reads what optimizers keep to themselves."""

from typing import Any

from kprune._keras import backend


def innermost(optimizer: Any) -> Any:
    """Returns the optimizer that makes the updates: behind loss scaling, the one it wraps."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def trainable_variables(optimizer: Any) -> list[Any]:
    """Returns the variables that an optimizer was built for."""
    return list(optimizer._trainable_variables)


def count_steps(optimizer: Any) -> int:
    """Returns how many updates an optimizer has made; with accumulation, those of the weights."""
    counted = optimizer.iterations
    return int(backend.read(counted) if hasattr(counted, "value") else backend.to_numpy(counted))


def update_count(optimizer: Any) -> Any:
    """Returns the tensor that counts updates, those that only accumulate gradients included."""
    return optimizer._iterations.value


def learning_rate(optimizer: Any) -> Any:
    """Returns the learning rate as it was given: a schedule to be called, or a variable."""
    return optimizer._learning_rate
