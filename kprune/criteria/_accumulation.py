"""Describes scores that accumulate over the updates of a training."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from kprune._masking import slot_variables
from kprune._masking.weight import Weight
from kprune._support import signatures
from kprune._support.typing import Array


@signatures.explain_constructor
@dataclasses.dataclass(frozen=True)
class Accumulation:
    """Describes what every update adds to the accumulated scores of each weight.

    Args:
        slot: the name of the slot variables in which the model keeps the scores.
        contribution: a function from a weight and its gradient before the update, two float32
            tensors of one shape, to the tensor that is added.
        memory: the factor, in [0, 1], by which a mask update multiplies the scores.
    """

    slot: str
    contribution: Callable[[Any, Any], Any]
    memory: float

    def read_scores(self, model: keras.Model, weights: Sequence[Weight]) -> Mapping[Weight, Array]:
        """Returns the scores that were accumulated so far.

        Raises:
            ValueError: there was no update yet.
        """
        accumulated = slot_variables.values(model, self.slot, weights)
        if accumulated is None or not any(array.any() for array in accumulated.values()):
            raise ValueError(
                f'criterion="{self.slot}" accumulates its scores over the updates of a training, '
                f"and there was none yet in {model.name}; expected some. Write a later begin_step "
                "in the schedule, or train within "
                f'kprune.training.accumulating(model, "{self.slot}").'
            )
        return accumulated
