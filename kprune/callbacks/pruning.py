"""The schedule during `fit`."""

import warnings
from typing import Any

import keras

from kprune import allocations, criteria, pruning, schedules, wrappers


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
        per_class: bool = True,
    ) -> None:
        super().__init__()
        self.schedule = schedules.get(schedule)
        self.criterion = criteria.get(criterion)
        self.allocation = allocations.get(allocation)
        self.per_class = per_class
        self._resolved: schedules.Schedule | None = None
        self._counts: dict[str, list[int]] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the model; forgets the steps of an earlier fit."""
        wrappers.find(self.model)
        wrappers.forget(self.model, wrappers.MADE_AT)
        self._resolved, self._counts = None, None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Turns fractions of the fit into steps, once, and prunes to the first sparsity."""
        if self._resolved is None:
            self._resolved = self._resolve(epoch)
            self._warn_if_late(self._resolved, epoch)
            self._step()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Prunes where the schedule says so."""
        self._step()
        if logs is not None:
            logs["sparsity"] = self._sparsity()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the sparsity, of all and by class, into the logs."""
        if logs is not None:
            logs["sparsity"] = self._sparsity()
            if self.per_class:
                counts = self._count()
                classes = {name: 1 - kept / size for name, (kept, size) in counts.items()}
                logs.update({f"sparsity/{name}": each for name, each in classes.items()})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Puts the weights on their masks once more: averages of weights know none."""
        wrappers.project(self.model)
        if self._resolved is not None:
            pruning.warn_if_early(self._resolved, self._iterations())

    def _step(self) -> None:
        if self._resolved is None:  # train_on_batch and its like begin no epoch
            return
        if pruning.step(
            self.model, self._resolved, self._iterations(), self.criterion, self.allocation
        ):
            self._counts = None

    def _count(self) -> dict[str, list[int]]:
        """Kept and all values of each class, counted once for each making of the masks."""
        if self._counts is None:
            self._counts = {}
            for weight in wrappers.find(self.model):
                counts = self._counts.setdefault(weight.label, [0, 0])
                counts[0] += weight.kept()
                counts[1] += weight.size
        return self._counts

    def _sparsity(self) -> float:
        kept, size = map(sum, zip(*self._count().values(), strict=True))
        return 1 - kept / size

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
        if epoch == 0 and step > begin and self._sparsity() < schedule(schedule.grid(step)):  # type: ignore[arg-type]
            warnings.warn(
                f"The optimizer has already made {step} steps, so begin_step={begin} is in the "
                f"past and the model is pruned to {schedule(schedule.grid(step)):.1%} at once. "  # type: ignore[arg-type]
                f"Write begin_step={step} and a later end_step, give them as fractions of this fit "
                "(begin_step=0.0, end_step=0.75), or compile the model anew.",
                stacklevel=2,
            )
