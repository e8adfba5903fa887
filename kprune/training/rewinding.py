"""Weights of an earlier moment on the masks of now."""

from typing import Any

import keras

from kprune._keras import backend
from kprune._masking import masked_weights


class Snapshot:
    """The variables of a model at one moment, and those of its optimizer.

    Use it to retrain from early weights in place of the last ones: train, prune, rewind, train
    again. The masks stay what they are by then. With the optimizer's variables its step and so
    its learning rate go back too.

    Args:
        model: a wrapped model, trained for some steps or none.

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

    def __init__(self, model: keras.Model) -> None:
        masked_weights.require(model)
        self.model = model
        self.optimizer = getattr(model, "optimizer", None)
        kept = [*model.variables, *getattr(self.optimizer, "variables", [])]
        distinct: dict[int, Any] = {id(variable): variable for variable in kept}
        self._held = [(variable, backend.read(variable).copy()) for variable in distinct.values()]

    def rewind(self) -> None:
        """Gives the variables their values again, those of pruned weights aside.

        An optimizer that the model was compiled with since then is left as it is.
        """
        known = {id(variable) for variable in self.model.variables}
        if getattr(self.model, "optimizer", None) is self.optimizer:
            known |= {id(variable) for variable in getattr(self.optimizer, "variables", [])}
        for variable, value in self._held:
            if id(variable) in known:
                variable.assign(value)
        masked_weights.project(self.model)
