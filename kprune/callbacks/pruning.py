"""The schedule during `fit`."""

import warnings
from typing import Any

from kprune import allocations, criteria, pruning, refits, schedules
from kprune._keras import fits
from kprune._masking import masked_weights
from kprune.callbacks import _scheduled
from kprune.training import accumulation


class Pruning(_scheduled.Scheduled[schedules.Schedule]):
    """Prunes along a schedule while `fit` trains.

    Use it with a wrapped model. Masks are made anew at the steps of the schedule's grid; between
    them the optimizer keeps the weights on their masks by itself. The sparsity goes into the logs,
    so the progress bar, `History` and TensorBoard show it. Training that is stopped and resumed
    with the optimizer's state and the masks goes on where it was.

    Args:
        schedule: a `kprune.schedules.Schedule`, a function from step to sparsity, or a schedule
            of `tensorflow_model_optimization`. A step is an update of the optimizer; a float is a
            fraction of this fit.
        criterion: how weights are scored: a `kprune.criteria.Criterion` or its name.
        allocation: how classes compare: a `kprune.allocations.Allocation` or its name.
        refit: what becomes of the survivors: a `kprune.refits.Refit` or its name. Default: what
            the criterion makes of them.
        per_class: log the sparsity of each class too, as `sparsity/<class>`.

    Raises:
        ValueError: at the begin of training, where the model is not wrapped.

    Example:
        >>> pruning = kprune.callbacks.Pruning(kprune.schedules.PolynomialDecay(0.0, 0.9))
        >>> model.fit(x, y, epochs=10, callbacks=[pruning])
    """

    def __init__(
        self,
        schedule: Any,
        criterion: Any = "magnitude",
        allocation: Any = "class_blind",
        refit: Any = None,
        per_class: bool = True,
    ) -> None:
        super().__init__(schedules.get(schedule), per_class)
        self.criterion = criteria.get(criterion)
        self.allocation = allocations.get(allocation)
        self.refit = refits.get(refit)
        self._loan = fits.Loan()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the model; lets the criterion gather its scores, if it does."""
        super().on_train_begin(logs)
        self._loan.close()
        masked_weights.set_last_step(self.model, None)
        if self.criterion.accumulation is not None:
            self._loan.enter(self.model, accumulation.accumulating(self.model, self.criterion))

    def begin(self, schedule: schedules.Schedule, epoch: int) -> None:
        """Warns where the schedule began long ago."""
        self._warn_if_late(schedule, epoch)

    def act(self, schedule: schedules.Schedule, step: int) -> bool:
        """Prunes where the schedule says so."""
        choices = self.criterion, self.allocation, self.refit
        return pruning.step(self.model, schedule, step, *choices)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Puts the weights on their masks once more: averages of weights know none."""
        self._loan.close()
        masked_weights.project(self.model)
        if self._resolved is not None:
            pruning.warn_if_early(self._resolved, self._iterations())

    def _warn_if_late(self, schedule: schedules.Schedule, epoch: int) -> None:
        """Warns where a fresh fit meets a schedule that began long ago."""
        step, begin = self._iterations(), int(schedule.begin_step)
        if schedule.end_step == begin:  # one cut, as good now as then
            return
        if epoch == 0 and step > begin and self._sparsity < schedule(schedule.grid(step)):  # type: ignore[arg-type]
            warnings.warn(
                f"The optimizer has already made {step} steps, so begin_step={begin} is in the "
                f"past and the model is pruned to {schedule(schedule.grid(step)):.1%} at once. "  # type: ignore[arg-type]
                f"Write begin_step={step} and a later end_step, give them as fractions of this fit "
                "(begin_step=0.0, end_step=0.75), or compile the model anew.",
                stacklevel=2,
            )
