"""Scores that gather while a model trains: what every update adds, inside the compiled step.

The gradients are seen on their way to the weights (`gradients.passing`) and go on as they are, so
the scores cost no second backward pass.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from kprune import criteria, gradients, slots


@contextlib.contextmanager
def accumulating(model: keras.Model, criterion: Any, optimizer: Any = None) -> Iterator[None]:
    """Lets a criterion gather its scores from the updates made during a block.

    Use it in a training loop of one's own, around what is traced by `tf.function` too; the
    `Pruning` callback does this by itself. It costs a product and a sum for each weight and
    update, and four bytes a weight.

    Args:
        model: a wrapped model.
        criterion: one that accumulates, such as "movement", or any other, which does nothing.
        optimizer: whose updates count. Default: the model's own.

    Raises:
        ValueError: the model is not wrapped, or there is no optimizer.

    Example:
        >>> with kprune.accumulating(model, "movement"):
        ...     loss = model.train_on_batch(x, y)
        >>> report = kprune.prune(model, 0.5, "movement")
    """
    what = criteria.get(criterion).accumulation
    if what is None:
        yield
        return
    held = slots.of(model, what.slot)

    def adding(grads: list[Any], variables: list[Any]) -> list[Any]:
        for gradient, variable in zip(grads, variables, strict=True):
            slot = held.beside(variable)
            if slot is not None and gradient is not None:
                w, g = (tf.cast(each, "float32") for each in (variable.value, gradient))
                slot.assign_add(what.contribution(w, g))
        return grads

    with gradients.passing(model, optimizer, adding):
        yield


def fade(model: keras.Model, criterion: criteria.Criterion) -> None:
    """Keeps of what was gathered the part that outlives a cut."""
    what = criterion.accumulation
    if what is not None and what.memory < 1:
        for slot in slots.of(model, what.slot).weights:
            slot.assign(what.memory * slot.value)
