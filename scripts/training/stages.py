"""Trains in stages, which a second run reads from files or resumes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from kprune._support import files
from training.progress_bar import Bar


@dataclasses.dataclass(frozen=True)
class Stages:
    """Runs trainings one after another, and keeps their state in one directory.

    Use it for a program with `--resume`: a stage that was finished is read, one that was stopped
    goes on from its last whole epoch, masks and optimizer included, and the rest is trained.

    Args:
        directory: of the state; made where it is missing.
        resume: go on from what is there, in place of starting anew.
        verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch.

    Example:
        >>> Stages(Path("savedmodels/example"), resume=True).fit("dense", model, data, epochs=3)
    """

    directory: Path
    resume: bool = False
    verbose: int = 1

    def fit(
        self,
        name: str,
        model: keras.Model,
        data: Any,
        epochs: int,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **kwargs: Any,
    ) -> None:
        """Trains a compiled model, or gives it the weights that this stage ended with.

        The logs of every epoch are in `NAME.csv`, the weights and masks in `NAME.weights.h5`.

        Args:
            name: of the stage, for its files and the progress bar.
            model: built and compiled; wrapped, where the callbacks prune it.
            data: as `model.fit` takes it, or a tuple of arrays (x, y).
            epochs: how many there are in all.
            callbacks: take part in the training.
            **kwargs: for `model.fit`.
        """
        done = self.directory / f"{name}.weights.h5"
        state = State(self.directory, name)
        if not self.resume:
            state.forget()
            done.unlink(missing_ok=True)
        if done.exists():
            load(model, done)
            return
        model.fit(
            *(data if isinstance(data, tuple) else (data,)),
            epochs=epochs,
            initial_epoch=state.epoch,
            verbose=2 if self.verbose > 1 else 0,
            callbacks=[
                *callbacks,  # first: they create the variables that are restored
                state,
                keras.callbacks.CSVLogger(
                    str(self.directory / f"{name}.csv"), append=state.epoch > 0
                ),
                *([Bar(name)] if self.verbose == 1 else []),
            ],
            **kwargs,
        )
        with files.replacing(done) as temporary:
            model.save_weights(temporary)
        state.forget()


class State(keras.callbacks.Callback):
    """Saves a training after each epoch, whole or not at all, and restores it when it begins.

    Keras's `BackupAndRestore` overwrites its own file: an interruption there loses both states.

    Args:
        directory: where `NAME.EPOCH.weights.h5` goes; made where it is missing.
        name: of the training.
    """

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__()
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.name = directory, name

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return max(self._kept(), default=0)

    def forget(self) -> None:
        """Removes what was kept."""
        for path in self._kept().values():
            path.unlink()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restores weights, masks and optimizer."""
        if self.epoch:
            load(self.model, self._kept()[self.epoch])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps this epoch, then forgets those before it."""
        before = self._kept()
        path = self.directory / f"{self.name}.{epoch + 1}.weights.h5"
        with files.replacing(path) as temporary:
            self.model.save_weights(temporary)
        for each in before.values():
            if each != path:
                each.unlink()

    def _kept(self) -> dict[int, Path]:
        found = self.directory.glob(f"{self.name}.*.weights.h5")
        return {int(each.name.split(".")[-3]): each for each in found}


def load(model: keras.Model, path: Path) -> None:
    """Gives a compiled model the weights, masks and optimizer's state of a file."""
    model.optimizer.build(model.trainable_variables)
    model.load_weights(path)
