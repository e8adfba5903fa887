"""Scores that gather while a model trains: what every update adds, inside the compiled step.

The gradients pass through the optimizer's `apply`. It is borrowed for the time of a block, adds to
the slots, and goes on as before, so the scores cost no second backward pass, and hold under XLA,
loss scaling, several steps per execution and gradient accumulation alike.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from kprune import criteria, slots


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
    optimizer = optimizer or getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError(
            f"{model.name} has no optimizer; expected one whose updates count. "
            'Write model.compile("adam", ...) first, or accumulating(model, criterion, optimizer).'
        )
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # gradients are unscaled there
    held = slots.of(model, what.slot)
    vars(inner).pop("apply", None)  # what a fit that failed may have left
    apply = inner.apply

    def adding(grads: Any, trainable_variables: Any = None) -> Any:
        given = inner._trainable_variables if trainable_variables is None else trainable_variables
        grads, variables = list(grads), list(given)  # each may be an iterator, and is read twice
        for gradient, variable in zip(grads, variables, strict=True):
            slot = held.beside(variable)
            if slot is not None and gradient is not None:
                w, g = (tf.cast(each, "float32") for each in (variable.value, gradient))
                slot.assign_add(what.contribution(w, g))
        return apply(grads, variables)

    object.__setattr__(inner, "apply", adding)
    try:
        yield
    finally:
        vars(inner).pop("apply", None)


def fade(model: keras.Model, criterion: criteria.Criterion) -> None:
    """Keeps of what was gathered the part that outlives a cut."""
    what = criterion.accumulation
    if what is not None and what.memory < 1:
        for slot in slots.of(model, what.slot).weights:
            slot.assign(what.memory * slot.value)
