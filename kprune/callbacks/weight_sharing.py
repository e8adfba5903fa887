"""Trains shared weights during `fit`, and keeps them equal."""

from collections.abc import Mapping
from typing import Any

import keras

from kprune._keras import fits
from kprune._masking.weight import Weight
from kprune._support import signatures
from kprune._support.typing import Array
from kprune.training import weight_sharing

__all__ = ["WeightSharing"]


class WeightSharing(keras.callbacks.Callback):
    """Trains the values of shared weights, and keeps equal weights equal.

    Use it after `kprune.training.share_weights`, with a model that is compiled again, so that its
    optimizer starts with new state. The gradients of equal weights are summed:

    `dL/dc = sum dL/dw_i`

    At the end of each epoch the weights of a cluster are set to their mean, which changes nothing
    unless the optimizer treats equal weights differently. Pruned weights stay at zero.

    Raises:
        ValueError: at the start of training, if no weight is shared or the model is not wrapped.

    Example:
        >>> report = kprune.training.share_weights(model, bits=5)
        >>> model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
        >>> history = model.fit(x, y, callbacks=[kprune.callbacks.WeightSharing()])

    Reference:
        Han, Mao and Dally, Deep Compression, 2016.
    """

    resumed: tuple[str, ...] = ()  # all follows from the masks and weights

    @signatures.explained
    def __init__(self) -> None:
        super().__init__()
        self._clusters: Mapping[Weight, Array] = {}
        self._loan = fits.Loan()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Finds the weights that are equal, and begins to sum their gradients."""
        self._loan.close()
        self._clusters = weight_sharing.clusters(self.model)
        self._loan.enter(self.model, weight_sharing.sharing(self.model))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the weights of each cluster to their mean."""
        weight_sharing.join_clusters(self._clusters)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restores the optimizer's own updates."""
        self._loan.close()
        weight_sharing.join_clusters(self._clusters)
