"""Prunes a model to a sparsity, at once or at the steps of a schedule."""

import contextlib
import numbers
from collections.abc import Mapping
from typing import Any, Protocol

import keras

from kprune import _mask_update, allocations, criteria, refits, schedules
from kprune._keras import models, optimizers
from kprune._masking import masked_weights, report, wrapping
from kprune._masking.weight import Weight
from kprune._support import progress, registration, signatures, validation, warning
from kprune.training import accumulation


class _Counter(Protocol):
    """A variable or tensor that holds one number."""

    @property
    def shape(self) -> Any:
        """Its shape."""

    @property
    def dtype(self) -> Any:
        """Its type."""


@signatures.explained
def prune(
    model: keras.Model,
    sparsity: float | Mapping[str, float],
    criterion: criteria.Criterion | criteria.CriterionName = "magnitude",
    allocation: allocations.Allocation | allocations.AllocationName = "class_blind",
    refit: refits.Refit | refits.RefitName | None = None,
) -> report.Report:
    """Prunes a model to a sparsity at once.

    Use it after training, or between trainings. What is pruned stays pruned: a model that is
    sparser than asked is left as it is. A model that is not wrapped is wrapped first, with the
    defaults of `kprune.wrap`. The number of zeros is `round(sparsity * n)`, n the masked
    weights; patterns of whole blocks come as near as they can.

    Args:
        model: a built model.
        sparsity: fraction of the masked weights that become zero, in [0, 1); or a mapping from
            class to the sparsity of that class.
        criterion: how weights are scored: a `kprune.criteria.Criterion` or its name.
        allocation: how classes compare: a `kprune.allocations.Allocation` or its name.
        refit: what becomes of the survivors: a `kprune.refits.Refit` or its name. Default: what
            the criterion makes of them, which for most is nothing.

    Returns:
        The report of the pruned model.

    Raises:
        TypeError: the model is not of Keras 3, or an argument is of the wrong kind.
        ValueError: the model is not built, a sparsity is outside [0, 1), a name is unknown, or
            scores are NaN. The model is then what it was.

    Example:
        >>> print(kprune.prune(model, 0.9, allocation="erk"))
    """
    models.require_layer(model, "kprune.prune(model, 0.9)")
    _validate_sparsity(sparsity)
    choices = criteria.get(criterion), allocations.get(allocation), refits.get(refit)
    wrapped_here = isinstance(model, keras.Model) and not masked_weights.find(model)
    if wrapped_here:
        wrapping.wrap(model)
    try:
        _prune(model, sparsity, *choices)
    except BaseException:
        if wrapped_here:
            wrapping.strip(model)
        raise
    return report.report(model)


@signatures.explained
def step(
    model: keras.Model,
    schedule: schedules.ScheduleLike,
    step: "int | _Counter",
    criterion: criteria.Criterion | criteria.CriterionName = "magnitude",
    allocation: allocations.Allocation | allocations.AllocationName = "class_blind",
    refit: refits.Refit | refits.RefitName | None = None,
    *,
    last: bool = False,
) -> bool:
    """Prunes where a schedule says so: one line in a training loop of one's own.

    Use it after every update. It looks at the schedule, which costs microseconds, and makes the
    masks anew when a step of the schedule's grid was reached since the last time, whether or
    not the loop met it exactly. Between calls Keras's optimizers keep the weights on the masks.

    Args:
        model: a wrapped model.
        schedule: a `kprune.schedules.Schedule` in steps, or a function from step to sparsity.
        step: how many updates the optimizer has made: `optimizer.iterations`, or a whole number.
        criterion: as in `kprune.prune`.
        allocation: as in `kprune.prune`.
        refit: as in `kprune.prune`.
        last: true at the last call. The weights are put on their masks once more, and a schedule
            that has not ended by then is a warning.

    Returns:
        Whether the masks were made anew.

    Raises:
        TypeError: the step is no whole number.
        ValueError: the step is below 0, the schedule has a fraction of the fit
            (`schedule.resolve(steps)` turns it into steps), or the model is not wrapped.

    Example:
        >>> for x, y in batches:
        ...     train_step(x, y)
        ...     kprune.step(model, schedule, optimizer.iterations)
    """
    models.require_layer(model, "kprune.step(model, schedule, optimizer.iterations)")
    count = _validate_step(step)
    validation.require_flag(last, "last")
    schedule = schedules.get(schedule)
    if not schedule.is_resolved:
        raise ValueError(
            f"{schedule} has a fraction of the fit; expected steps. "
            "Write schedule = schedule.resolve(steps), with the number of updates to come."
        )
    grid, previous = schedule.grid(count), masked_weights.last_step(model)
    if previous is not None and count < previous:  # a new optimizer counts from zero again
        previous = None
    if previous is None:  # the first call
        criterion, allocation = criteria.get(criterion), allocations.get(allocation)
        refit = refits.get(refit)
        masked_weights.require(model)
    due = grid is not None and (previous is None or grid > previous)
    if grid is not None and due:
        # The sparsity of the grid's step, not of this one: a loop that sees every fourth step,
        # or that was stopped and resumed, ends with the same masks.
        sparsity = _total(model, schedule, grid, allocations.get(allocation))
        _prune(model, sparsity, criterion, allocation, refit)
        masked_weights.set_last_step(model, count)
    if last:
        masked_weights.project(model)
        warn_if_early(schedule, count)
    return due


def warn_if_early(schedule: schedules.Schedule, step: int) -> None:
    """Warns where training ends before its schedule does."""
    if step < schedule.end_step:
        grid, end = schedule.grid(step), int(schedule.end_step)
        reached = 0.0 if grid is None else schedule(grid)
        warning.warn(
            f"Training ended at step {step}, before the schedule, which ends at step {end}: "
            f"the model is pruned to {reached:.1%}, not to {schedule(end):.1%}. Train longer, "
            f"write {schedule.advise_end(step)}, or finish with "
            f"kprune.prune(model, {schedule(end):g}).",
        )


def _validate_sparsity(sparsity: Any) -> None:
    """Raises if a sparsity is neither a fraction nor a mapping from class to fraction."""
    if isinstance(sparsity, Mapping):
        registration.validate_sparsities(sparsity)
    elif isinstance(sparsity, schedules.Schedule):
        raise TypeError(
            f"sparsity={sparsity} is a schedule; expected a fraction such as 0.9, for kprune.prune "
            "prunes at once. Along a schedule write "
            "model.fit(x, y, callbacks=[kprune.callbacks.Pruning(schedule)])."
        )
    else:
        registration.validate_sparsity(sparsity)


def _total(
    model: keras.Model,
    schedule: schedules.Schedule,
    grid: int,
    allocation: allocations.Allocation,
) -> float:
    """Returns the sparsity of all the weights at a step of the grid.

    With targets for classes it is that part of their total which the schedule has reached, so that
    each class ends with its target.
    """
    final = schedule(int(schedule.end_step))
    if not isinstance(allocation, allocations.Fixed) or not final:
        return schedule(grid)
    return allocation.total(masked_weights.require(model)) * schedule(grid) / final


def _validate_step(step: Any) -> int:
    """Returns a step as a number, of a variable or tensor its value."""
    if hasattr(step, "shape") and not isinstance(step, numbers.Number):
        step = optimizers.read_count(step)
    if not isinstance(step, numbers.Integral) or isinstance(step, bool):
        raise TypeError(
            f"step={validation.describe_kind(step)}; expected how many updates were made, a whole "
            "number. Write step=optimizer.iterations."
        )
    if step < 0:
        raise ValueError(
            f"step={step}; expected how many updates were made, at least 0. "
            "Write step=optimizer.iterations."
        )
    return int(step)


def _prune(
    model: keras.Model,
    sparsity: float | Mapping[str, float],
    criterion: Any,
    allocation: Any,
    refit: Any,
) -> None:
    criterion, refit = criteria.get(criterion), refits.get(refit)
    weights = masked_weights.require(model)
    sparsity, allocation = _resolve(weights, sparsity, allocations.get(allocation))
    kept = [weight.kept() for weight in weights]
    present = 1 - sum(kept) / sum(weight.size for weight in weights)
    stages = list(criterion.stages(present, sparsity))
    undo: Any = contextlib.nullcontext()
    if len(stages) > 1:
        undo = masked_weights.restored_on_error(weights)
    is_pruned = False
    with undo:
        for stage in progress.track(stages, "pruning"):
            choices = criterion, allocation, refit
            is_pruned |= _mask_update.update_masks(model, weights, stage, *choices)
    if is_pruned:  # a step of the schedule need not prune anything
        accumulation.decay(model, criterion)
        pairs = zip(weights, kept, strict=True)
        emptied = [weight for weight, before in pairs if before and not weight.kept()]
        _warn_if_emptied(emptied, allocation)


def _warn_if_emptied(emptied: list[Weight], allocation: allocations.Allocation) -> None:
    """Warns of weights that have just lost their last value."""
    if emptied:
        paths = [weight.path for weight in emptied]
        shown = ", ".join(paths[:3]) + ", ..." * (len(paths) > 3)
        place = emptied[0].location.place
        layer = place.partition("/")[2] or place  # without the model, which has another name anew
        is_blind = not isinstance(allocation, (allocations.ClassUniform, allocations.Fixed))
        uniform = 'allocation="class_uniform", ' if is_blind else ""
        warning.warn(
            f"No value is left of {shown}: what such a layer puts out no longer depends on its "
            f"inputs. To keep some, write {uniform}a lower sparsity, "
            f'kprune.wrap(model, floor=1), or kprune.wrap(model, exclude="{layer}").'
        )


def _resolve(
    weights: list[Weight],
    sparsity: float | Mapping[str, float],
    allocation: allocations.Allocation,
) -> tuple[float, allocations.Allocation]:
    """Returns the sparsity of all the weights together, and how the zeros are shared out."""
    if not isinstance(sparsity, Mapping):
        return registration.validate_sparsity(sparsity), allocation
    if allocation != allocations.ClassBlind():
        raise ValueError(
            f"allocation={allocation} came with a mapping of sparsities, which itself says how "
            "many zeros each class gets; expected one of the two. Leave allocation out, or write "
            "kprune.prune(model, 0.9, allocation=...)."
        )
    fixed = allocations.Fixed(dict(sparsity))
    return fixed.total(weights), fixed
