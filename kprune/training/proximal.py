"""Shrinks masked weights after every update by the proximal step of reweighted l1."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from kprune._keras import backend, borrowing, compiled, optimizers
from kprune._masking import masked_weights, masks, slot_variables
from kprune._support import registration

__all__ = ["proximal_strength"]

_SLOT = "proximal"


@dataclasses.dataclass(frozen=True, eq=False)
class Shrinkage:
    """Shrinks a weight towards zero after each update, small values more than large ones.

    `w <- sign(w) max(|w| - eta * strength * alpha, 0)`

    with `eta` the learning rate of that update, under any schedule, and
    `alpha = 1 / (|v| + epsilon)`, `v` the weight when it was last reweighted. If the optimizer
    accumulates gradients over several steps, weights shrink only in those that update them.

    Args:
        optimizer: the optimizer whose learning rate is used.
        strength: the strength of the regularizer.
        variable: the weight's.
        alpha: a variable of the weight's shape.
        own: the user's own constraint, applied first; `None` if there is none.
    """

    optimizer: keras.optimizers.Optimizer
    strength: float
    variable: keras.Variable
    alpha: keras.Variable
    own: Any

    def __call__(self, w: Any) -> Any:
        """Returns the shrunken weight."""
        w = w if self.own is None else self.own(w)
        threshold = ops.cast(self._current_rate() * self.strength * self.alpha.value, w.dtype)
        return prox(w, threshold)

    def _current_rate(self) -> Any:
        optimizer = optimizers.of_variable(self.optimizer, self.variable)
        rate = ops.cast(optimizer.learning_rate, "float32")
        steps = optimizer.gradient_accumulation_steps
        if not steps:
            return rate
        updating = (optimizers.update_count(optimizer) + 1) % steps == 0
        return ops.where(updating, rate, 0.0)


def prox(w: Any, threshold: Any) -> Any:
    """Returns `sign(w) max(|w| - threshold, 0)`, the proximal operator of `threshold * |w|`.

    Example:
        >>> np.asarray(prox(np.array([2.0, -1.0, 0.5]), 0.75)).tolist()
        [1.25, -0.25, 0.0]
    """
    return ops.sign(w) * ops.relu(ops.abs(w) - threshold)


def proximal_strength(
    model: keras.Model, sparsity: float, steps: int, epsilon: float = 1e-3
) -> float:
    """Returns the strength at which proximal steps reach about a given sparsity.

    Use it in place of trials: the strength depends on the learning rates, the number of steps and
    the weights. Without a gradient a weight of size w shrinks by `eta * strength / (w + epsilon)` a
    step, so it is zero after the steps if

    `w^2 / 2 + epsilon * w <= strength * sum_t eta_t`

    which is solved for the quantile of the sizes at the given sparsity. Gradients keep some of
    these weights from zero: expect somewhat fewer zeros.

    Args:
        model: a wrapped model, compiled with the optimizer of the training that follows.
        sparsity: fraction of the masked weights that become zero, in [0, 1).
        steps: how many updates there are from `begin_step` to `end_step`.
        epsilon: that of `ReweightedProximal`.

    Returns:
        The `strength` for `ReweightedProximal`.

    Raises:
        ValueError: the model is not wrapped or not compiled, or all learning rates are zero.

    Example:
        >>> strength = kprune.training.proximal_strength(kprune.wrap(model), 0.8, steps=200)
        >>> rpp = kprune.callbacks.ReweightedProximal(strength, begin_step=0, end_step=200)
    """
    registration.validate_sparsity(sparsity)
    optimizer = getattr(model, "optimizer", None)
    totals: dict[int, float] = {}  # by optimizer: a `MultiOptimizer` has several
    strengths = []  # at which each value is zero after the steps
    for weight in masked_weights.require(model):
        own = None if optimizer is None else optimizers.of_variable(optimizer, weight.variable)
        if id(own) not in totals:
            totals[id(own)] = 0.0 if own is None else _sum_learning_rates(own, steps)
        total = totals[id(own)]
        if not total > 0:
            raise ValueError(
                f"The learning rates of {steps} steps of {model.name} sum to {total:g}; expected "
                "more than 0. Write model.compile(keras.optimizers.Adam(1e-3), ...) first, and "
                "steps=1000."
            )
        size = np.abs(weight.values()).reshape(-1).astype(np.float64)
        strengths.append((size**2 / 2 + epsilon * size) / total)
    return float(np.quantile(np.concatenate(strengths), sparsity))


def _sum_learning_rates(optimizer: Any, steps: int) -> float:
    """Returns the sum of the learning rates of the following steps."""
    rate, first = optimizers.learning_rate(optimizer), optimizers.count_steps(optimizer)
    if not callable(rate):  # a variable
        return steps * float(backend.read(rate))
    return float(sum(float(backend.to_numpy(rate(step))) for step in range(first, first + steps)))


def prepare(model: keras.Model) -> None:
    """Creates a variable alpha for each masked weight of a model."""
    slot_variables.of(model, _SLOT)


def discard(model: keras.Model) -> None:
    """Removes the variables alpha from a model."""
    slot_variables.clear(model, _SLOT)


def is_weighted(model: keras.Model) -> bool:
    """Returns whether alpha was estimated, here or in a training that was restored."""
    return any(backend.read(variable).any() for variable in slot_variables.of(model, _SLOT).weights)


def reweight(model: keras.Model, epsilon: float) -> None:
    """Estimates `alpha = 1 / (|w| + epsilon)` for every masked weight."""
    alphas = slot_variables.of(model, _SLOT)
    for weight in masked_weights.require(model):
        size = np.abs(weight.values().astype(np.float32))
        alphas.beside(weight.variable).assign(1 / (size + epsilon))


@contextlib.contextmanager
def shrink_after_updates(model: keras.Model, optimizer: Any, strength: float) -> Iterator[None]:
    """Shrinks the masked weights of a model after every update during a block.

    Args:
        model: a wrapped model, with alpha estimated by `reweight`.
        optimizer: the optimizer that updates the weights.
        strength: the strength of the regularizer.
    """
    alphas = slot_variables.of(model, _SLOT)
    with contextlib.ExitStack() as stack:
        stack.push(compiled.forget_at_exit(model))
        for weight in masked_weights.require(model):
            alpha = alphas.beside(weight.variable)
            shrink = functools.partial(Shrinkage, optimizer, strength, weight.variable, alpha)
            stack.enter_context(borrowing.patched(masks.on_mask(weight.variable), "own", shrink))
        compiled.forget(model)
        yield


def freeze(model: keras.Model) -> None:
    """Masks all weights that are zero."""
    for weight in masked_weights.require(model):
        mask = np.logical_and(weight.alive(), weight.values() != 0)
        weight.write(mask)
    masked_weights.note_update(model)
