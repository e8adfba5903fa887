"""A regularizer for the time of a fit."""

from typing import Any

import keras

from kprune._keras import fits
from kprune.training import regularization


class Regularization(keras.callbacks.Callback):
    """Regularizes the surviving weights during a fit.

    Use it to train for pruning and to retrain after it: L1 draws weights to zero and prunes better
    before retraining, L2 keeps the survivors better while retraining (Han et al.). No layer has
    to be built with it, and nothing of it stays in the model.

    Args:
        regularizer: of Keras, by name or as an object, or a function from weight to loss.

    Raises:
        ValueError: at the begin of training, where the model is not wrapped or there is no such
            regularizer.

    Example:
        >>> l2 = kprune.callbacks.Regularization(keras.regularizers.L2(1e-4))
        >>> history = model.fit(x, y, callbacks=[kprune.callbacks.Pruning(schedule), l2])

    Reference:
        Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
    """

    def __init__(self, regularizer: Any) -> None:
        super().__init__()
        self.regularizer = regularizer
        self._loan = fits.Loan()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Sets the regularizer."""
        self._loan.close()
        self._loan.enter(self.model, regularization.regularized(self.model, self.regularizer))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restores what was there."""
        self._loan.close()
