"""Saves the weights of an early step during `fit`, to rewind to them."""

from typing import Any

from kprune import schedules
from kprune._support import signatures
from kprune._support.typing import Array
from kprune.callbacks import _scheduled
from kprune.training import rewinding

__all__ = ["Rewinding"]


class Rewinding(_scheduled.Scheduled[schedules.Interval]):
    """Saves the weights of an early step, to restore them when the masks are known.

    Use it for lottery tickets: weights from the first hundreds of steps retrain as well as the last
    ones, or better. It costs a copy of the weights and of the optimizer's state.

    Args:
        step: the step at which they are saved; a float is a fraction of the fit.

    Raises:
        ValueError: at the start of training, if the model is not wrapped.

    Example:
        >>> rewinding = kprune.callbacks.Rewinding(step=2)
        >>> history = model.fit(x, y, epochs=2, callbacks=[rewinding])
        >>> report = kprune.prune(model, 0.5)
        >>> rewinding.rewind()
        >>> history = model.fit(x, y, epochs=2)

    Reference:
        Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis, 2020.
    """

    resumed = ("_values",)

    @signatures.explained
    def __init__(self, step: schedules.Step) -> None:
        super().__init__(schedules.Interval(step, step, 1), per_class=False)
        self.snapshot: rewinding.Snapshot | None = None
        self._values: list[Array] | None = None  # of the snapshot, for `Backup`

    def act(self, schedule: schedules.Interval, step: int) -> bool:
        """Saves the weights, once."""
        if self.snapshot is None and self._values is not None:  # of the training that was stopped
            self.snapshot = rewinding.Snapshot(self.model)
            self.snapshot.values = self._values
        if self.snapshot is None and schedule.grid(step) is not None:
            self.snapshot = rewinding.Snapshot(self.model)
            self._values = self.snapshot.values
        return False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs nothing."""
        super().on_epoch_end(epoch, None)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Changes nothing: no mask was updated."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the weights when the step is reached; logs nothing."""
        super().on_train_batch_end(batch, None)

    def rewind(self) -> None:
        """Restores the weights of that step, on the present masks.

        Raises:
            ValueError: the step was never reached.
        """
        if self.snapshot is None:
            raise ValueError(
                f"step={self.schedule.begin_step} was never reached, so there is nothing to "
                "rewind to; expected a fit beyond that step. Write "
                "model.fit(x, y, callbacks=[rewinding]) first, or Rewinding(step=1)."
            )
        self.snapshot.rewind()
