"""Callbacks that watch a training: one for the figure, one for whoever waits."""

import dataclasses

import keras
import rich.console
import rich.progress
from images import Images, accuracy

import kprune


@dataclasses.dataclass
class Step:
    """One step of a schedule: accuracies in [0, 1].

    Args:
        sparsity: of all masked weights, after the cut.
        cut: accuracy right after the cut.
        retrained: accuracy before the next one; for the last step, after fine-tuning.
    """

    sparsity: float
    cut: float
    retrained: float


class TradeOff(keras.callbacks.Callback):
    """Notes the accuracy right after each cut, and again when the model has been retrained.

    Use it after `Pruning` in the list of callbacks. Nothing is chosen by what it notes.

    Args:
        schedule: the one that `Pruning` follows, in steps.
        images: whose test images to tell apart.

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
        """Notes a cut that comes before the first update."""
        self._look()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Notes what has just been cut, and what is about to be."""
        self._look()

    def close(self, model: keras.Model) -> None:
        """Notes the accuracy of the last step, once the model is fine-tuned."""
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


class Bar(keras.callbacks.Callback):
    """One line that moves: what is being done, how far it is, how well it goes."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.bar = rich.progress.Progress(
            rich.progress.TextColumn(f"{what:<19}"),
            rich.progress.BarColumn(bar_width=24),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("epochs {task.fields[logs]}"),
            rich.progress.TimeElapsedColumn(),
            console=rich.console.Console(stderr=True),
        )

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Shows the bar."""
        self.task = self.bar.add_task("", total=self.params["epochs"], logs="")
        self.bar.start()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Moves the bar by an epoch."""
        shown = {name: (logs or {}).get(name) for name in ("loss", "sparsity")}
        text = "  ".join(f"{name} {each:.4f}" for name, each in shown.items() if each is not None)
        self.bar.update(self.task, advance=1, logs=text)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Leaves the bar as it is."""
        self.bar.stop()
