"""Records the test accuracy before and after each mask update of a training."""

import dataclasses

import keras

import kprune
from data.images import Images, accuracy


@dataclasses.dataclass
class Step:
    """The sparsity and the accuracies, in [0, 1], of one step of a schedule.

    Args:
        sparsity: of all masked weights, after the mask update.
        cut: accuracy right after the mask update.
        retrained: accuracy before the next one; for the last step, after fine-tuning.
    """

    sparsity: float
    cut: float
    retrained: float


class TradeOff(keras.callbacks.Callback):
    """Records the accuracy right after each mask update, and again after the retraining.

    Use it after `Pruning` in the list of callbacks. No choice depends on what it records.

    Args:
        schedule: the one that `Pruning` follows, in steps.
        images: whose test images are classified.

    Example:
        >>> trade_off = TradeOff(schedule, images)
        >>> model.fit(x, y, callbacks=[kprune.callbacks.Pruning(schedule), trade_off])
        >>> trade_off.steps[-1].retrained
        0.98
    """

    def __init__(self, schedule: kprune.schedules.Schedule, images: Images) -> None:
        super().__init__()
        self.schedule = schedule
        self.images = images
        self.steps: list[Step] = []
        self._grid: int | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Records a mask update that comes before the first training step."""
        self._look()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Records the accuracy if the masks were just updated or are about to be."""
        self._look()

    def close(self, model: keras.Model) -> None:
        """Records the accuracy of the last step, once the model is fine-tuned."""
        self.steps[-1].retrained = accuracy(model, self.images.test)

    def _look(self) -> None:
        step = int(self.model.optimizer.iterations)
        grid = self.schedule.grid(step)
        cut, last = grid != self._grid, self.schedule.grid(step + 1) != grid
        if grid is None or not (cut or last):
            return
        self._grid = grid
        now = accuracy(self.model, self.images.test)
        if cut:
            self.steps.append(Step(kprune.report(self.model).sparsity, now, now))
        self.steps[-1].retrained = now
