"""Evidence that gathers over the updates of a training."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from kprune._masking import slot_variables
from kprune._masking.weight import Weight
from kprune._support.typing import Array


@dataclasses.dataclass(frozen=True)
class Accumulation:
    """What every update adds to a slot beside each weight.

    Args:
        slot: the name under which the model holds it.
        contribution: of a weight and its gradient before the update, tensors of one shape, to
            what is added.
        memory: the part of what was gathered that outlives a cut; 1 for all, 0 for a new begin.
    """

    slot: str
    contribution: Callable[[Any, Any], Any]
    memory: float

    def read_scores(self, model: keras.Model, weights: Sequence[Weight]) -> Mapping[Weight, Array]:
        """Returns what was gathered so far.

        Raises:
            ValueError: no update was seen.
        """
        found = slot_variables.values(model, self.slot, weights)
        if found is None or not any(array.any() for array in found.values()):
            raise ValueError(
                f'criterion="{self.slot}" gathers its scores from the updates of a training, and '
                f"there was none yet in {model.name}. Give the schedule a later begin_step, or "
                f'train first within kprune.training.accumulating(model, "{self.slot}").'
            )
        return found
