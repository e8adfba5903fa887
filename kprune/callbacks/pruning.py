"""Prunes along a schedule during `fit`."""

from collections.abc import Mapping
from typing import Any

from kprune import allocations, criteria, pruning, refits, schedules
from kprune._keras import fits
from kprune._masking import masked_weights
from kprune._support import signatures, warning
from kprune.callbacks import _clock, _scheduled
from kprune.training import accumulation

__all__ = ["Pruning"]

FEWEST_UPDATES = 5  # of the masks, for a ramp to be gradual


class Pruning(_scheduled.Scheduled[schedules.Schedule]):
    """Prunes along a schedule while `fit` trains.

    Use it with a wrapped model. Masks are updated at the steps of the schedule's grid; between them
    the optimizer keeps pruned weights at zero. The sparsity is logged, so the progress bar,
    `History` and TensorBoard show it. A training that is stopped and resumed with the optimizer's
    state and the masks continues where it was.

    Args:
        schedule: a `kprune.schedules.Schedule`, its name, a function from step to sparsity, or a
            schedule of `tensorflow_model_optimization`. A step is an update of the optimizer; a
            float is a fraction of this fit.
        criterion: how weights are scored: a `kprune.criteria.Criterion` or its name.
        allocation: how zeros are distributed over classes: a `kprune.allocations.Allocation`, its
            name, or a mapping from class to the sparsity with which the class ends; the schedule
            then says which part of it is reached.
        refit: how the survivors move: a `kprune.refits.Refit` or its name. Default: as the
            criterion moves them, which for most is not at all.
        per_class: log the sparsity of each class too, as `sparsity/<class>`.

    Raises:
        ValueError: at the start of training, if the model is not wrapped, the sparsity of the
            schedule falls somewhere, or the fit has another `Pruning`; after an epoch, if the
            model's optimizer has made no update.

    Example:
        >>> pruning = kprune.callbacks.Pruning(kprune.schedules.PolynomialDecay(0.0, 0.9))
        >>> model.fit(x, y, epochs=10, callbacks=[pruning])
    """

    @signatures.explained
    def __init__(
        self,
        schedule: schedules.ScheduleLike,
        criterion: criteria.Criterion | criteria.CriterionName = "magnitude",
        allocation: allocations.Allocation
        | allocations.AllocationName
        | Mapping[str, float] = "class_blind",
        refit: refits.Refit | refits.RefitName | None = None,
        per_class: bool = True,
    ) -> None:
        super().__init__(schedules.get(schedule), per_class)
        self.criterion = criteria.get(criterion)
        self.allocation = allocations.get(allocation)
        self.refit = refits.get(refit)
        self._loan = fits.Loan()
        self._is_told = False  # that the schedule does not end within the fit

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Raises if the model is not wrapped; begins to accumulate scores if the criterion does."""
        super().on_train_begin(logs)
        self._loan.close()
        self._is_told = False
        if sum(isinstance(each, Pruning) for each in fits.running_callbacks()) > 1:
            raise ValueError(
                "This fit has two Pruning callbacks, and a model has one set of masks, which "
                "follows one schedule; expected one. For sparsities of different classes write "
                'Pruning(schedule, allocation={"first": 0.9, "second": 0.5}).'
            )
        masked_weights.set_last_step(self.model, None)
        if self.criterion.accumulation is not None:
            self._loan.enter(self.model, accumulation.accumulating(self.model, self.criterion))

    def begin(self, schedule: schedules.Schedule, clock: _clock.Clock) -> None:
        """Raises if the sparsity ever falls; warns of a schedule that does not fit into the fit."""
        schedules.check_rising(schedule)
        self._warn_if_late(schedule, clock)
        self._warn_if_steep(schedule)
        if clock.last is not None and schedule.end_step > clock.last:
            self._warn_if_long(schedule, clock.last)

    def act(self, schedule: schedules.Schedule, step: int) -> bool:
        """Prunes if the schedule has a step that is due."""
        choices = self.criterion, self.allocation, self.refit
        return pruning.step(self.model, schedule, step, *choices)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Sets pruned weights to zero once more; warns if the schedule has not ended."""
        self._loan.close()
        super().on_train_end(logs)
        if self._resolved is not None and self._clock is not None and not self._is_told:
            pruning.warn_if_early(self._resolved, self._clock.read())

    def _warn_if_late(self, schedule: schedules.Schedule, clock: _clock.Clock) -> None:
        """Warns if a new fit has a schedule that began before it."""
        step, begin = clock.read(), int(schedule.begin_step)
        if schedule.end_step == begin:  # a single mask update, which may be late
            return
        due = schedule.grid(step)
        if clock.epoch or step <= begin or due is None or self._sparsity >= schedule(due):
            return
        warning.warn(
            f"The optimizer has already made {step} steps, so begin_step={begin} is in the past "
            f"and the model is pruned to {schedule(due):.1%} at once. Give the schedule's steps "
            "as fractions of this fit, which the defaults are (begin_step=0.0), or compile the "
            "model again.",
        )

    def _warn_if_steep(self, schedule: schedules.Schedule) -> None:
        """Warns if a ramp has too few mask updates to be gradual."""
        if not isinstance(schedule, (schedules.PolynomialDecay, schedules.Function)):
            return
        begin, end, frequency = (
            int(each) for each in (schedule.begin_step, schedule.end_step, schedule.frequency)
        )
        count = 1 - (begin - end) // frequency  # the first, and each begun distance after it
        advice = f"frequency={max(1, (end - begin) // 20)}"
        if frequency == 1:
            advice = f"a later end_step, or model.fit(epochs=...) with more than {end} steps"
        if count < FEWEST_UPDATES and schedule(begin) < schedule(end):
            warning.warn(
                f"The masks are updated {count} times between step {begin} and step {end}, which "
                f"raises the sparsity to {schedule(end):.1%} in jumps. Write {advice}.",
            )

    def _warn_if_long(self, schedule: schedules.Schedule, last: int) -> None:
        """Warns if the schedule cannot end within the fit."""
        due, end = schedule.grid(last), int(schedule.end_step)
        reached = 0.0 if due is None else schedule(due)
        self._is_told = True
        warning.warn(
            f"The schedule ends at step {end}, and this fit at step {last}: the model will be "
            f"pruned to {reached:.1%}, not to {schedule(end):.1%}. Write "
            f"{schedule.advise_end(last)}, or train for more epochs.",
        )
