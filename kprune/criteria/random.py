"""Scores weights by random numbers, as a baseline."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from kprune._masking.weight import Weight
from kprune._support import registration, validation
from kprune._support.typing import Array
from kprune.criteria import criterion

__all__ = ["Random"]


@registration.register
@dataclasses.dataclass(frozen=True)
class Random(criterion.Criterion):
    """Scores weights by random numbers: `s ~ U(0, 1)`.

    Use it as a baseline. The numbers depend only on the seed and on the position of the weight in
    the model, so they are the same at every step of a schedule.

    Args:
        seed: a whole number, at least 0.

    Raises:
        ValueError: the seed is not a whole number, or is negative.

    Example:
        >>> kprune.prune(model, 0.5, criterion=kprune.criteria.Random(seed=1))
    """

    seed: int = 0

    def __post_init__(self) -> None:
        validation.require_whole(self.seed, "seed", minimum=0)

    def observe(
        self, model: keras.Model, weights: Sequence[Weight], stage: criterion.Stage
    ) -> dict[int, int]:
        """Numbers the weights."""
        return {id(weight.variable): place for place, weight in enumerate(weights)}

    def score(self, weight: Weight, statistics: dict[int, int]) -> Array:
        """Draws a number for each weight."""
        generator = np.random.default_rng([self.seed, statistics[id(weight.variable)]])
        return generator.random(tuple(weight.variable.shape), np.float32)
