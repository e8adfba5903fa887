"""Keeps what Keras's own callbacks restore and write on the masks, or says that it is not."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kprune._keras import fits
from kprune._masking import masked_weights
from kprune._support import warning


@dataclasses.dataclass
class Epochs:
    """The epochs of a fit that prunes: the sparsity of each, and what was logged.

    Use it in a callback that changes masks: `EarlyStopping` and `ModelCheckpoint` choose the best
    epoch, whatever its sparsity was.
    """

    sparsities: dict[int, float] = dataclasses.field(default_factory=dict)
    logs: dict[int, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def note(self, epoch: int, sparsity: float, logs: dict[str, Any] | None) -> None:
        """Notes an epoch that has ended."""
        self.sparsities[epoch] = sparsity
        self.logs[epoch] = dict(logs or {})

    def settle(self, model: keras.Model) -> None:
        """Puts restored weights on the masks when a fit ends, those restored later too.

        Warns where the best epoch that a callback of Keras has chosen had another sparsity.
        """
        if not self.sparsities:
            return
        last = self.sparsities[max(self.sparsities)]
        for callback in fits.running_callbacks():
            if isinstance(callback, keras.callbacks.EarlyStopping):
                if callback.restore_best_weights and callback.best_weights is not None:
                    _mask(model, callback.best_weights)
                    self._warn(callback, callback.best_epoch, last, "restores")
            elif getattr(callback, "save_best_only", False):  # a `ModelCheckpoint`
                numbers = {epoch: logs.get(callback.monitor) for epoch, logs in self.logs.items()}
                best = [epoch for epoch, number in numbers.items() if number == callback.best]
                if best:
                    self._warn(callback, best[0], last, "has written")

    def _warn(self, callback: Any, epoch: int, last: float, verb: str) -> None:
        sparsity = self.sparsities.get(epoch, last)
        if abs(sparsity - last) < 1e-9:
            return
        warning.warn(
            f"{type(callback).__name__} {verb} the weights of epoch {epoch + 1}, the best by "
            f"{callback.monitor}, which was pruned to {sparsity:.1%}; the masks are pruned to "
            f"{last:.1%}. To have the best epoch at the final sparsity, write "
            f'kprune.callbacks.BestEpoch("{callback.monitor}") in its place.',
        )


def _mask(model: keras.Model, values: list[Any]) -> None:
    """Sets what masks prune to zero in the values of a model's weights, in place."""
    masks = {id(each.variable): each for each in masked_weights.find(model)}
    for place, variable in enumerate(model.weights):
        if id(variable) in masks:
            values[place] = np.where(masks[id(variable)].alive(), values[place], 0)
