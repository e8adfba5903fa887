"""Accumulates scores over the updates of a training, inside the compiled step.

The gradients are read between the tape and the optimizer and stay unchanged, so the scores cost no
second backward pass.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from kprune import criteria
from kprune._keras import gradients, step_variables
from kprune._masking import masked_weights, slot_variables
from kprune._support import signatures

__all__ = ["accumulating"]


@signatures.explained
@contextlib.contextmanager
def accumulating(
    model: keras.Model,
    criterion: criteria.Criterion | criteria.CriterionName,
    optimizer: Any = None,
) -> Iterator[None]:
    """Lets a criterion accumulate its scores from the updates made during a block.

    Use it in a training loop of your own, also around the first call of a `tf.function`; the
    `Pruning` callback does this by itself. It costs a product and a sum for each weight and
    update, and four bytes a weight.

    Args:
        model: a wrapped model.
        criterion: a `kprune.criteria.Criterion` or its name. One that accumulates nothing, such as
            "magnitude", has no effect.
        optimizer: the optimizer that updates the model. Default: the one it is compiled with.

    Raises:
        ValueError: the model is not wrapped, a masked weight is frozen, or there is no optimizer.

    Example:
        >>> with kprune.training.accumulating(model, "movement"):
        ...     loss = model.train_on_batch(x, y)
        >>> report = kprune.prune(model, 0.5, "movement")
    """
    accumulation = criteria.get(criterion).accumulation
    masked_weights.require(model)
    if accumulation is None:
        yield
        return
    _check_trained(model, accumulation.slot)
    slots = slot_variables.of(model, accumulation.slot)

    def add_scores(grads: list[Any], variables: list[Any]) -> list[Any]:
        for gradient, variable in zip(grads, variables, strict=True):
            slot = slots.beside(variable)
            if slot is not None and gradient is not None:
                whole = gradients.sum_over_replicas(gradient)
                w, g = (ops.cast(each, "float32") for each in (variable.value, whole))
                total = slot.value + accumulation.contribution(w, g)
                step_variables.assign(slot, total)
        return grads

    with gradients.transform(model, optimizer, add_scores):
        yield


def _check_trained(model: keras.Model, name: str) -> None:
    frozen = [each for each in masked_weights.require(model) if not each.variable.trainable]
    if frozen:
        path = frozen[0].path
        layer = path.rsplit("/", 1)[0].rsplit("/", 1)[-1]
        raise ValueError(
            f"{path} is not trained, so criterion={name!r} would have no scores of it and prune it "
            "first; expected masks on trained weights alone. Write kprune.strip(model) and "
            f'kprune.wrap(model, exclude="{layer}"), or set trainable = True.'
        )


def decay(model: keras.Model, criterion: criteria.Criterion) -> None:
    """Multiplies the accumulated scores by `memory` after a mask update."""
    accumulation = criterion.accumulation
    if accumulation is not None and accumulation.memory < 1:
        for slot in slot_variables.of(model, accumulation.slot).weights:
            slot.assign(accumulation.memory * slot.value)
