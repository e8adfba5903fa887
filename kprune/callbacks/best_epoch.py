"""Restores the best weights among the epochs at the final sparsity."""

import re
from typing import Any, Literal

import keras
import numpy as np

from kprune._keras import backend
from kprune._masking import masked_weights
from kprune._support import registration, signatures, validation, warning
from kprune._support.typing import Array

__all__ = ["BestEpoch"]

_HIGHER = re.compile(r"acc|auc|precision|recall|f1|fbeta|iou|r2|score|bleu")
_LOWER = re.compile(r"loss|error|crossentropy|perplexity|mse|mae|divergence")


class BestEpoch(keras.callbacks.Callback):
    """Restores the best weights among the epochs at the final sparsity.

    Use it with `Pruning`, in place of `EarlyStopping(restore_best_weights=True)` and
    `ModelCheckpoint(save_best_only=True)`: these compare epochs of every sparsity, and the best is
    mostly one before the pruning. Weights come back with the masks of their epoch.

    Args:
        monitor: the name of a number in the logs, such as "val_accuracy".
        sparsity: the least sparsity of the epochs that compete, in [0, 1). Default: the highest
            that the fit reaches.
        mode: "max" if higher is better, "min" if lower is. Default: what the name says.

    Attributes:
        epoch: the best epoch, counted from 0; `None` before there is one.
        value: its number in the logs.

    Raises:
        ValueError: the name does not say whether higher is better; at the end of an epoch, if the
            logs have no such number. If no epoch has the sparsity, the last weights stay, with a
            warning.

    Example:
        >>> best = kprune.callbacks.BestEpoch("accuracy")
        >>> history = model.fit(x, y, callbacks=[kprune.callbacks.Pruning(schedule), best])
    """

    epoch: int | None
    value: float | None
    _best: list[Array] | None
    _masks: list[Array] | None
    _zeros: int

    @signatures.explained
    def __init__(
        self,
        monitor: str = "val_loss",
        sparsity: float | None = None,
        mode: Literal["auto", "min", "max"] = "auto",
    ) -> None:
        super().__init__()
        validation.require_choice(mode, "mode", ("auto", "min", "max"), write="max")
        if not isinstance(monitor, str):
            raise TypeError(
                f"monitor={validation.describe_kind(monitor)}; expected the name of a metric "
                'in the logs. Write monitor="val_loss".'
            )
        if mode == "auto":
            is_higher, is_lower = _HIGHER.search(monitor), _LOWER.search(monitor)
            if bool(is_higher) == bool(is_lower):
                raise ValueError(
                    f"monitor={monitor!r} does not say whether higher is better; expected a mode. "
                    'Write mode="max" or mode="min".'
                )
            mode = "max" if is_higher else "min"
        if sparsity is not None:
            registration.validate_sparsity(sparsity)
        self.monitor, self.sparsity, self.mode = monitor, sparsity, mode
        self._forget()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Raises if the model is not wrapped; forgets an earlier fit."""
        masked_weights.require(self.model)
        self._forget()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the weights if the epoch is the best of its sparsity."""
        value = (logs or {}).get(self.monitor)
        if value is None and self.monitor.startswith("val_"):  # not every epoch is validated
            return
        if value is None:
            known = ", ".join(logs or {})
            raise ValueError(
                f"monitor={self.monitor!r} is not in the logs, which have {known}. Write one of "
                "these."
            )
        weights = masked_weights.require(self.model)
        size, kept = sum(each.size for each in weights), sum(each.kept() for each in weights)
        zeros, least = size - kept, self._zeros
        if self.sparsity is not None:  # the number of zeros that `prune` makes for it
            least = round(self.sparsity * size)
        if zeros < least:
            return
        is_sparser = self.sparsity is None and zeros > self._zeros
        sign = 1 if self.mode == "max" else -1
        if self.value is None or is_sparser or sign * float(value) > sign * self.value:
            self.epoch, self.value, self._zeros = epoch, float(value), zeros
            self._best = [backend.copy(each) for each in self.model.weights]
            self._masks = [each.alive().copy() for each in weights]

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restores the best weights, with their masks."""
        if self._best is None or self._masks is None:
            weights = masked_weights.require(self.model)
            present = 1 - sum(each.kept() for each in weights) / sum(each.size for each in weights)
            wanted = "" if self.sparsity is None else f" and a sparsity of {self.sparsity}"
            warning.warn(
                f"No epoch had {self.monitor} in its logs{wanted}, so the last weights stay, "
                f"pruned to {present:.4f}. Write BestEpoch({self.monitor!r}), which takes the "
                "highest sparsity of the fit, and model.fit(validation_data=...) for names that "
                "begin with val_.",
            )
            return
        for variable, value in zip(self.model.weights, self._best, strict=True):
            variable.assign(value)
        weights = masked_weights.require(self.model)
        for weight, mask in zip(weights, self._masks, strict=True):
            weight.write(np.asarray(mask, bool))
        masked_weights.note_update(self.model)

    def _forget(self) -> None:
        self.epoch = self.value = self._best = self._masks = None
        self._zeros = 0
