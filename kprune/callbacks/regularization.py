"""Regularizes the surviving weights during `fit`."""

from typing import Any

import keras

from kprune._keras import fits
from kprune._masking import masked_weights
from kprune._support import signatures
from kprune.training import regularization

__all__ = ["Regularization"]


class Regularization(keras.callbacks.Callback):
    """Regularizes the surviving weights during a fit.

    Use it to train before pruning and to retrain after it: with L1 more weights are near zero and
    the accuracy after pruning is higher, with L2 the accuracy after retraining is higher (Han et
    al.). Layers need no regularizer of their own, and the model keeps none afterwards.

    Args:
        regularizer: a Keras regularizer or its name, or a function from weight to loss.

    Raises:
        TypeError: the regularizer is none.
        ValueError: Keras knows no regularizer of this name; at the start of training, if the model
            is not wrapped.

    Example:
        >>> l2 = kprune.callbacks.Regularization(keras.regularizers.L2(1e-4))
        >>> history = model.fit(x, y, callbacks=[kprune.callbacks.Pruning(schedule), l2])

    Reference:
        Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
    """

    resumed: tuple[str, ...] = ()  # all follows from the masks and weights

    @signatures.explained
    def __init__(self, regularizer: regularization.RegularizerLike) -> None:
        super().__init__()
        regularization.find_regularizer(regularizer)
        self.regularizer = regularizer
        self._loan = fits.Loan()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Sets the regularizer."""
        self._loan.close()
        masked_weights.require(self.model)
        self._loan.enter(self.model, regularization.regularized(self.model, self.regularizer))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restores the layers' own regularizers."""
        self._loan.close()
