"""Accumulates scores over the updates of a training, inside the compiled step.

The gradients are read between the tape and the optimizer and are passed on unchanged, so the scores
cost no second backward pass.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from kprune import criteria
from kprune._keras import gradients
from kprune._masking import slot_variables


@contextlib.contextmanager
def accumulating(model: keras.Model, criterion: Any, optimizer: Any = None) -> Iterator[None]:
    """Lets a criterion accumulate its scores from the updates made during a block.

    Use it in a training loop of your own, around what is traced by `tf.function` too; the
    `Pruning` callback does this by itself. It costs a product and a sum for each weight and
    update, and four bytes a weight.

    Args:
        model: a wrapped model.
        criterion: one that accumulates, such as "movement", or any other, which does nothing.
        optimizer: whose updates count. Default: the model's own.

    Raises:
        ValueError: the model is not wrapped, or there is no optimizer.

    Example:
        >>> with kprune.training.accumulating(model, "movement"):
        ...     loss = model.train_on_batch(x, y)
        >>> report = kprune.prune(model, 0.5, "movement")
    """
    what = criteria.get(criterion).accumulation
    if what is None:
        yield
        return
    held = slot_variables.of(model, what.slot)

    def add_scores(grads: list[Any], variables: list[Any]) -> list[Any]:
        for gradient, variable in zip(grads, variables, strict=True):
            slot = held.beside(variable)
            if slot is not None and gradient is not None:
                w, g = (tf.cast(variable, "float32") for variable in (variable.value, gradient))
                slot.assign_add(what.contribution(w, g))
        return grads

    with gradients.transform(model, optimizer, add_scores):
        yield


def decay(model: keras.Model, criterion: criteria.Criterion) -> None:
    """Multiplies the accumulated scores by `memory` after a mask update."""
    what = criterion.accumulation
    if what is not None and what.memory < 1:
        for slot in slot_variables.of(model, what.slot).weights:
            slot.assign(what.memory * slot.value)
