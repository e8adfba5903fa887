"""Shows the epochs of a training as a progress bar."""

import keras
import rich.console
import rich.progress


class Bar(keras.callbacks.Callback):
    """Shows the name of the training, the epochs that are done, the loss and the sparsity.

    Args:
        what: the name of the training, of at most 19 characters.
    """

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
        """Advances the bar by an epoch and shows the loss and the sparsity."""
        shown = {name: (logs or {}).get(name) for name in ("loss", "sparsity")}
        text = "  ".join(f"{name} {each:.4f}" for name, each in shown.items() if each is not None)
        self.bar.update(self.task, advance=1, logs=text)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Stops the bar and leaves it on the screen."""
        self.bar.stop()
