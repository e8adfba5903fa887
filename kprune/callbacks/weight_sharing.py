"""Shared weights trained during `fit`."""

import contextlib
from collections.abc import Mapping
from typing import Any

import keras

from kprune import sharing, weights
from kprune.callbacks import scheduled


class WeightSharing(keras.callbacks.Callback):
    """Trains the values of shared weights, and keeps equal weights equal.

    Use it after `kprune.sharing.share`, with a model that is compiled anew, so that its optimizer
    starts from fresh slots. The gradients of equal weights are summed: `dL/dc = sum dL/dw_i`.
    At the end of each epoch the weights of a cluster are given their mean, which moves nothing
    unless the optimizer treats equal weights differently. Pruned weights stay at zero.

    Raises:
        ValueError: at the begin of training, where no weight is shared or the model not wrapped.

    Example:
        >>> report = kprune.sharing.share(model, bits=5)
        >>> model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
        >>> history = model.fit(x, y, callbacks=[kprune.callbacks.WeightSharing()])

    Reference:
        Han, Mao and Dally, Deep Compression, 2016.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clusters: Mapping[weights.Weight, weights.Array] = {}
        self._open = contextlib.ExitStack()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Notes which weights are equal, and has their gradients summed from now on."""
        self._clusters = sharing.found(self.model)
        self._open.enter_context(sharing.sharing(self.model))
        scheduled.retrace(self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Joins what an optimizer may have torn apart."""
        sharing.snap(self._clusters)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Gives the optimizer its updates back."""
        self._open.close()
        scheduled.retrace(self.model)
        sharing.snap(self._clusters)
