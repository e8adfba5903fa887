"""A regularizer for the time of a fit."""

import contextlib
from typing import Any

import keras

from kprune import regularizers
from kprune.callbacks import scheduled


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
        self._open = contextlib.ExitStack()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Sets it."""
        self._open.close()
        self._open.enter_context(regularizers.regularized(self.model, self.regularizer))
        scheduled.retrace(self.model)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Gives back what was there."""
        self._open.close()
        scheduled.retrace(self.model)
