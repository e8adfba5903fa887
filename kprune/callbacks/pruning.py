"""Prunes along a schedule during `fit`."""

import warnings
from typing import Any

from kprune import allocations, criteria, pruning, refits, schedules
from kprune._keras import fits
from kprune._masking import masked_weights
from kprune._support import signatures
from kprune.callbacks import _scheduled
from kprune.training import accumulation

__all__ = ["Pruning"]


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
        allocation: how zeros are distributed over classes: a `kprune.allocations.Allocation` or its
            name.
        refit: how the survivors move: a `kprune.refits.Refit` or its name. Default: as the
            criterion moves them, which for most is not at all.
        per_class: log the sparsity of each class too, as `sparsity/<class>`.

    Raises:
        ValueError: at the start of training, if the model is not wrapped.

    Example:
        >>> pruning = kprune.callbacks.Pruning(kprune.schedules.PolynomialDecay(0.0, 0.9))
        >>> model.fit(x, y, epochs=10, callbacks=[pruning])
    """

    @signatures.explained
    def __init__(
        self,
        schedule: schedules.ScheduleLike,
        criterion: criteria.Criterion | criteria.CriterionName = "magnitude",
        allocation: allocations.Allocation | allocations.AllocationName = "class_blind",
        refit: refits.Refit | refits.RefitName | None = None,
        per_class: bool = True,
    ) -> None:
        super().__init__(schedules.get(schedule), per_class)
        self.criterion = criteria.get(criterion)
        self.allocation = allocations.get(allocation)
        self.refit = refits.get(refit)
        self._loan = fits.Loan()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Raises if the model is not wrapped; begins to accumulate scores if the criterion does."""
        super().on_train_begin(logs)
        self._loan.close()
        masked_weights.set_last_step(self.model, None)
        if self.criterion.accumulation is not None:
            self._loan.enter(self.model, accumulation.accumulating(self.model, self.criterion))

    def begin(self, schedule: schedules.Schedule, epoch: int) -> None:
        """Warns if the schedule began before this fit."""
        self._warn_if_late(schedule, epoch)

    def act(self, schedule: schedules.Schedule, step: int) -> bool:
        """Prunes if the schedule has a step that is due."""
        choices = self.criterion, self.allocation, self.refit
        return pruning.step(self.model, schedule, step, *choices)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Sets pruned weights to zero once more: averages of weights may not be."""
        self._loan.close()
        masked_weights.project(self.model)
        if self._resolved is not None:
            pruning.warn_if_early(self._resolved, self._read_iterations())

    def _warn_if_late(self, schedule: schedules.Schedule, epoch: int) -> None:
        """Warns if a new fit has a schedule that began before it."""
        step, begin = self._read_iterations(), int(schedule.begin_step)
        if schedule.end_step == begin:  # a single mask update, which may be late
            return
        if epoch == 0 and step > begin and self._sparsity < schedule(schedule.grid(step)):  # type: ignore[arg-type]
            warnings.warn(
                f"The optimizer has already made {step} steps, so begin_step={begin} is in the "
                f"past and the model is pruned to {schedule(schedule.grid(step)):.1%} at once. "  # type: ignore[arg-type]
                f"Write begin_step={step} and a later end_step, give them as fractions of this fit "
                "(begin_step=0.0, end_step=0.75), or compile the model again.",
                stacklevel=2,
            )
