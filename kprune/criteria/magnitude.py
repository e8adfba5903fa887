"""Scores weights by their absolute value."""

import dataclasses
from typing import Any

import numpy as np

from kprune._masking.weight import Weight
from kprune._selection import scores
from kprune._support import registration
from kprune.criteria import criterion

__all__ = ["Magnitude"]


@registration.register
@dataclasses.dataclass(frozen=True)
class Magnitude(criterion.Criterion):
    """Scores weights by their absolute value: `s = |w|`.

    Use it while training: it needs no data, costs one pass over the weights, and with retraining
    is hard to beat.

    Example:
        >>> kprune.prune(model, 0.5, criterion="magnitude")

    Reference:
        Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
    """

    def score(self, weight: Weight, statistics: Any) -> scores.LazyScores:
        """Returns the magnitudes, which are computed when they are read."""
        return scores.LazyScores(np.abs, weight.values)
