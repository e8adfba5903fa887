"""Stages of a training that may be stopped at any time: each goes on where it was, or is read."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from watching import Bar


@dataclasses.dataclass(frozen=True)
class Stages:
    """Trainings that follow each other, with their state in one directory.

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
        self.directory.mkdir(parents=True, exist_ok=True)
        done = self.directory / f"{name}.weights.h5"
        stopped = self.directory / f"{name}.stopped"
        if self.resume and done.exists():
            model.optimizer.build(model.trainable_variables)
            model.load_weights(done)
            return
        if not self.resume:
            shutil.rmtree(stopped, ignore_errors=True)
            done.unlink(missing_ok=True)
        started = (stopped / "training_metadata.json").exists()
        model.fit(
            *(data if isinstance(data, tuple) else (data,)),
            epochs=epochs,
            verbose=2 if self.verbose > 1 else 0,
            callbacks=[
                *callbacks,  # first: they make room for what is restored
                keras.callbacks.BackupAndRestore(str(stopped), delete_checkpoint=False),
                keras.callbacks.CSVLogger(str(self.directory / f"{name}.csv"), append=started),
                *([Bar(name)] if self.verbose == 1 else []),
            ],
            **kwargs,
        )
        model.save_weights(done)  # before the state goes: a stop in between costs nothing
        shutil.rmtree(stopped, ignore_errors=True)
