"""Saves a whole training after each epoch, to go on from it after a kill."""

import inspect
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from kprune._keras import fits, training_state
from kprune._support import atomic, signatures, validation
from kprune.callbacks import _plain

__all__ = ["Backup"]

_TEMPORARY, _DONE = ".writing-", "epochs-"


class Backup(keras.callbacks.Callback):
    """Saves a whole training after each epoch, and goes on from there after a kill.

    Use it where a training may be killed at any moment. Run the same program again: the `fit` with
    this callback goes on after the last whole epoch, and ends with the weights, bit for bit, of
    the training that was never stopped. Saved are weights, masks, accumulated scores, the
    optimizer, the random states of Keras, its layers, NumPy and Python, the history, and the
    numbers and arrays that other callbacks hold (`EarlyStopping`'s best weights, for one). Each
    state is written into a new folder beside the last, which one rename makes valid; a kill at
    any moment leaves one of the two. When the fit has ended, the folder is removed.

    The order of the data must not depend on what came before. Arrays may be shuffled: this callback
    shuffles them by the number of the epoch. A `tf.data.Dataset` needs
    `reshuffle_each_iteration=False`, a `PyDataset` needs `fit(shuffle=False)`. On several cores and
    on GPUs write `tf.config.experimental.enable_op_determinism()` too.

    Args:
        directory: for the state of this training alone; made if it is missing.
        keep: whether the state stays when the fit has ended. A second run then trains nothing.

    Raises:
        ValueError: at the start of training, if the model is not built, or the directory holds the
            state of another model.

    Example:
        >>> backup = kprune.callbacks.Backup("savedmodels/lenet")
        >>> history = model.fit(x, y, callbacks=[kprune.callbacks.Pruning(schedule), backup])
    """

    @signatures.explained
    def __init__(self, directory: str | os.PathLike[str], keep: bool = False) -> None:
        super().__init__()
        validation.require_path(directory, 'kprune.callbacks.Backup("savedmodels/lenet")')
        validation.require_flag(keep, "keep")
        self.directory = Path(directory)
        self.keep = keep
        self._loan = fits.Loan()
        self._state: dict[str, Any] | None = None  # what is still to be restored
        self._set_epoch: Callable[[int], object] = lambda epoch: None
        self._first_epoch: int | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restores the state of a training that was stopped."""
        if not self.model.built:
            raise ValueError(
                f"{self.model.name} is not built, so that its state cannot be restored. Write "
                "model.build(input_shape), or call it on a batch, before model.fit."
            )
        self._loan.close()
        self._first_epoch = None
        _remove(self.directory, _TEMPORARY)
        saved = self._find_saved()
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        self._state, self._seed = None, random.getrandbits(31)
        if saved:
            epoch, folder = max(saved.items())
            self.model.load_weights(folder / "model.weights.h5")
            self._state = _plain.load(folder)
            self._seed = self._state["seed"]
            self._loan.enter(self.model, training_state.begin_at(self.model, epoch))
            for name, callback in _named(fits.running_callbacks()).items():
                _write(callback, self._state["callbacks"].get(name, {}))
        self._set_epoch = training_state.shuffle_by_epoch(self._seed)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Restores what other callbacks have reset, or saves the state after the last epoch."""
        if self._state is not None:
            callbacks = fits.running_callbacks()
            later = callbacks[callbacks.index(self) + 1 :]
            for name, callback in _named(callbacks).items():
                if callback in later:  # the others have begun the epoch already
                    _write(callback, self._state["callbacks"].get(name, {}))
            training_state.write_random_state(self.model, self._state["random"])
            self._state = None
        elif self._first_epoch is not None:
            self._save(epoch)
        self._first_epoch = epoch if self._first_epoch is None else self._first_epoch
        self._set_epoch(epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Removes the state, or saves the last one."""
        self._loan.close()
        if self.keep:
            self._save(self.params["epochs"])
        else:
            _remove(self.directory, _DONE)

    def _save(self, epoch: int) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self.directory))
        self.model.save_weights(folder / "model.weights.h5")
        named = _named(fits.running_callbacks())
        state = {
            "seed": self._seed,
            "random": training_state.read_random_state(self.model),
            "callbacks": {name: _read(callback) for name, callback in named.items()},
        }
        _plain.save(folder, state)
        atomic.flush(folder)
        before = self._find_saved()
        # There already in a fit after one that was kept.
        target = self.directory / f"{_DONE}{epoch}"
        atomic.replace(folder, target, self.directory / f"{_TEMPORARY}{epoch}")
        _remove(self.directory, _TEMPORARY)
        for each in before.values():
            if each != target:
                _discard(each)

    def _find_saved(self) -> dict[int, Path]:
        found = self.directory.glob(f"{_DONE}*") if self.directory.is_dir() else ()
        return {int(each.name.removeprefix(_DONE)): each for each in found}


def _named(callbacks: list[keras.callbacks.Callback]) -> dict[str, keras.callbacks.Callback]:
    """Returns callbacks by class and number, those alone that a later run has too."""
    found: dict[str, keras.callbacks.Callback] = {}
    for callback in callbacks:
        kind = type(callback).__name__
        number = sum(name.split("#")[0] == kind for name in found)
        found[f"{kind}#{number}"] = callback
    return {name: each for name, each in found.items() if not isinstance(each, Backup)}


def _read(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Returns what a callback has noted so far: plain values that it was not constructed with."""
    names = getattr(callback, "resumed", None)
    if names is None:
        given = set(inspect.signature(type(callback).__init__).parameters)
        names = set(vars(callback)) - given - {"params", "_model", "_params"}
    found = {name: vars(callback)[name] for name in names if name in vars(callback)}
    return {
        name: value
        for name, value in found.items()
        if _plain.is_plain(value) and not isinstance(value, str)
    }


def _write(callback: keras.callbacks.Callback, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(callback, name, value)


def _discard(folder: Path) -> None:
    """Removes a folder, which a kill in between leaves under a name that is not read."""
    aside = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder.parent))
    shutil.rmtree(folder.rename(aside / "old").parent, ignore_errors=True)


def _remove(directory: Path, prefix: str) -> None:
    for folder in sorted(directory.glob(f"{prefix}*")) if directory.is_dir() else ():
        if prefix == _TEMPORARY:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            _discard(folder)
