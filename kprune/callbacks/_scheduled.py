"""Acts at the steps of a schedule during `fit`, and logs the sparsity."""

import abc
import math
from typing import Any, Generic, TypeVar

import keras

from kprune import schedules
from kprune._masking import masked_weights
from kprune._masking.weight import Weight
from kprune._support import validation
from kprune.callbacks import _clock, _restored

G = TypeVar("G", bound=schedules.Grid)


class Scheduled(keras.callbacks.Callback, abc.ABC, Generic[G]):
    """Acts at the steps of a schedule's grid, and writes the sparsity into the logs.

    Subclasses implement `act`.

    Args:
        schedule: gives the steps; its fractions are of the fit.
        per_class: log the sparsity of each class too, as `sparsity/<class>`.

    Attributes:
        resumed: the names of the attributes that a `Backup` restores; the others follow from the
            masks and the optimizer's step.
    """

    resumed: tuple[str, ...] = ()

    def __init__(self, schedule: G, per_class: bool) -> None:
        super().__init__()
        validation.require_flag(per_class, "per_class")
        self.schedule = schedule
        self.per_class = per_class
        self._resolved: G | None = None
        self._sparsity, self._classes = 0.0, dict[str, float]()
        self._due: float = math.inf  # the next step of the schedule
        self._clock: _clock.Clock | None = None
        self._epochs = _restored.Epochs()
        self._epoch_begin = 0  # an upper bound of the updates before the epoch
        self._batches = 0  # of this fit, before the epoch
        self._epoch_batches = 0

    @abc.abstractmethod
    def act(self, schedule: G, step: int) -> bool:
        """Acts at a step of the schedule; returns whether the sparsity changed."""

    def begin(self, schedule: G, clock: _clock.Clock) -> None:
        """Is called once in each fit, when the schedule is resolved to steps."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Raises if the model is not wrapped; forgets the steps of an earlier fit."""
        masked_weights.require(self.model)
        self._resolved = self._clock = None
        self._epochs = _restored.Epochs()
        self._batches = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Resolves the schedule, once, and acts if something is due before the first step."""
        if self._resolved is None:
            self._count()
            clock = self._clock = _clock.Clock(self.model, epoch, self.params)
            self._resolved = self.schedule.resolve(clock.steps, clock.origin)
            self.begin(self._resolved, clock)
        self._epoch_batches = 0
        self._step(batch=-1)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Acts if something is due, and logs the sparsity."""
        self._epoch_batches = batch + 1
        # An update takes at least one batch, so the optimizer is read only when it can be due.
        if self._epoch_begin + batch + 1 >= self._due:
            self._step(batch)
        if logs is not None:
            logs["sparsity"] = self._sparsity

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the sparsity of all weights and of each class."""
        self._batches += self._epoch_batches
        if self._clock is not None:
            self._clock.count(self._batches)
            self._clock.check()
        self._epochs.note(epoch, self._sparsity, logs)
        if logs is not None:
            logs["sparsity"] = self._sparsity
            if self.per_class:
                logs.update(
                    {f"sparsity/{name}": sparsity for name, sparsity in self._classes.items()}
                )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Sets pruned weights to zero once more: what other callbacks have restored may not be."""
        self._epochs.settle(self.model)
        masked_weights.project(self.model)

    def _step(self, batch: int) -> None:
        if self._resolved is None:  # `train_on_batch` begins no epoch
            return
        step = self._read_step(batch)
        if self.act(self._resolved, step):
            self._count()
        self._due, self._epoch_begin = self._resolved.after(step), step - batch - 1

    def _read_step(self, batch: int = -1) -> int:
        """Returns the step of the training after a batch of the running epoch."""
        assert self._clock is not None, "no epoch has begun"
        self._clock.count(self._batches + batch + 1)
        return self._clock.read()

    def _count(self) -> None:
        """Computes the sparsity of all weights and of each class."""
        counts: dict[str, list[int]] = {}
        for weight in masked_weights.require(self.model):
            count = counts.setdefault(weight.label, [0, 0])
            count[0] += self._count_kept(weight)
            count[1] += weight.size
        kept, size = map(sum, zip(*counts.values(), strict=True))
        self._sparsity = 1 - kept / size
        self._classes = {label: 1 - kept / size for label, (kept, size) in counts.items()}

    def _count_kept(self, weight: Weight) -> int:
        return weight.kept()
