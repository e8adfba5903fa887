"""The moment to rewind to, during `fit`."""

from typing import Any

from kprune import schedules
from kprune.callbacks import _scheduled
from kprune.training import rewinding


class Rewinding(_scheduled.Scheduled[schedules.Interval]):
    """Notes the weights of an early step, to go back to them once the masks are known.

    Use it for lottery tickets: the first weights after some hundred steps retrain as well as the
    last ones, or better. Costs a copy of the weights and of the optimizer's state.

    Args:
        step: when; a float is a fraction of the fit.

    Raises:
        ValueError: at the begin of training, where the model is not wrapped.

    Example:
        >>> rewinding = kprune.callbacks.Rewinding(step=2)
        >>> history = model.fit(x, y, epochs=2, callbacks=[rewinding])
        >>> report = kprune.prune(model, 0.5)
        >>> rewinding.rewind()
        >>> history = model.fit(x, y, epochs=2)

    Reference:
        Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis, 2020.
    """

    def __init__(self, step: schedules.Step) -> None:
        super().__init__(schedules.Interval(step, step, 1), per_class=False)
        self.snapshot: rewinding.Snapshot | None = None

    def act(self, schedule: schedules.Interval, step: int) -> bool:
        """Notes the weights, once."""
        if self.snapshot is None and schedule.grid(step) is not None:
            self.snapshot = rewinding.Snapshot(self.model)
        return False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Nothing of it goes into the logs."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes the weights, when it is time."""
        super().on_train_batch_end(batch, None)

    def rewind(self) -> None:
        """Gives the weights the values of that step, on the masks of now.

        Raises:
            ValueError: the step was never reached.
        """
        if self.snapshot is None:
            raise ValueError(
                f"step={self.schedule.begin_step} was never reached, so there is nothing to go "
                "back to. Give an earlier step, or fit with this callback first."
            )
        self.snapshot.rewind()
