"""Restores earlier weights of a model on its present masks."""

from collections.abc import Sequence
from typing import Any

import keras

from kprune._keras import backend
from kprune._masking import masked_weights
from kprune._support import signatures
from kprune._support.typing import Array

__all__ = ["Snapshot"]


class Snapshot:
    """Saves the variables of a model and of its optimizer, and restores them later.

    Use it to retrain from early weights in place of the last ones: train, prune, rewind, train
    again. The masks stay as they are when it rewinds. The step of the optimizer, and so its
    learning rate, is restored with its variables.

    Args:
        model: a wrapped model, after any number of training steps.

    Raises:
        ValueError: the model is not wrapped.

    Example:
        >>> early = kprune.training.Snapshot(kprune.wrap(model))
        >>> history = model.fit(x, y)
        >>> report = kprune.prune(model, 0.2)
        >>> early.rewind()

    Reference:
        Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis, 2020; Renda,
        Frankle and Carbin, Comparing Rewinding and Fine-tuning in Neural Network Pruning, 2020.
    """

    @signatures.explained
    def __init__(self, model: keras.Model) -> None:
        masked_weights.require(model)
        self.model = model
        self.optimizer = getattr(model, "optimizer", None)
        variables = [*model.variables, *getattr(self.optimizer, "variables", [])]
        distinct: dict[int, Any] = {id(variable): variable for variable in variables}
        self._values = [(variable, backend.read(variable).copy()) for variable in distinct.values()]

    @property
    def values(self) -> list[Array]:
        """The values of the variables, in the order of the model and of its optimizer."""
        return [value for _, value in self._values]

    @values.setter
    def values(self, values: Sequence[Array]) -> None:
        pairs = zip(self._values, values, strict=True)
        self._values = [(variable, value) for (variable, _), value in pairs]

    def rewind(self) -> None:
        """Restores the values of the variables, except those of pruned weights.

        If the model has been compiled with another optimizer, that one stays as it is.
        """
        known = {id(variable) for variable in self.model.variables}
        if getattr(self.model, "optimizer", None) is self.optimizer:
            known |= {id(variable) for variable in getattr(self.optimizer, "variables", [])}
        for variable, value in self._values:
            if id(variable) in known:
                variable.assign(value)
        masked_weights.project(self.model)
