"""The schedule during `fit`."""

import math
import warnings
from typing import Any

import keras

from kprune import allocations, criteria, pruning, refits, schedules, wrappers


class Pruning(keras.callbacks.Callback):
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
        super().__init__()
        self.schedule = schedules.get(schedule)
        self.criterion = criteria.get(criterion)
        self.allocation = allocations.get(allocation)
        self.refit = refits.get(refit)
        self.per_class = per_class
        self._resolved: schedules.Schedule | None = None
        self._sparsity, self._classes = 0.0, dict[str, float]()
        self._due: float = math.inf  # the next step of the schedule
        self._epoch_begin = 0  # how many updates there were, at most, when the epoch began

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the model; forgets the steps of an earlier fit."""
        wrappers.find(self.model)
        wrappers.forget(self.model, wrappers.MADE_AT)
        self._resolved = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Turns fractions of the fit into steps, once, and prunes to the first sparsity."""
        if self._resolved is None:
            self._count()
            self._resolved = self._resolve(epoch)
            self._warn_if_late(self._resolved, epoch)
        self._step(batch=-1)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Prunes where the schedule says so."""
        # An update needs a batch at least, so the optimizer need not be asked before it can be due.
        if self._epoch_begin + batch + 1 >= self._due:
            self._step(batch)
        if logs is not None:
            logs["sparsity"] = self._sparsity

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the sparsity, of all and by class, into the logs."""
        if logs is not None:
            logs["sparsity"] = self._sparsity
            if self.per_class:
                logs.update({f"sparsity/{name}": each for name, each in self._classes.items()})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Puts the weights on their masks once more: averages of weights know none."""
        wrappers.project(self.model)
        if self._resolved is not None:
            pruning.warn_if_early(self._resolved, self._iterations())

    def _step(self, batch: int) -> None:
        if self._resolved is None:  # train_on_batch and its like begin no epoch
            return
        step = self._iterations()
        choices = self.criterion, self.allocation, self.refit
        if pruning.step(self.model, self._resolved, step, *choices):
            self._count()
        self._due, self._epoch_begin = self._resolved.after(step), step - batch - 1

    def _count(self) -> None:
        """Notes the sparsity of all and by class."""
        counts: dict[str, list[int]] = {}
        for weight in wrappers.find(self.model):
            count = counts.setdefault(weight.label, [0, 0])
            count[0] += weight.kept()
            count[1] += weight.size
        kept, size = map(sum, zip(*counts.values(), strict=True))
        self._sparsity = 1 - kept / size
        self._classes = {name: 1 - part / whole for name, (part, whole) in counts.items()}

    def _iterations(self) -> int:
        return int(self.model.optimizer.iterations.numpy())

    def _resolve(self, epoch: int) -> schedules.Schedule:
        """Steps for fractions; an epoch that is not the first belongs to a resumed fit."""
        batches = self.params.get("steps")
        if batches is None:
            return self.schedule.resolve(None)
        each = getattr(self.model.optimizer, "gradient_accumulation_steps", None) or 1
        steps = self.params["epochs"] * batches // each
        return self.schedule.resolve(steps, self._iterations() - epoch * batches // each)

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
