"""Magnitude: what is small goes."""

import dataclasses
from typing import Any

import numpy as np

from kprune import registration, scores, weights
from kprune.criteria import criterion


@registration.register
@dataclasses.dataclass(frozen=True)
class Magnitude(criterion.Criterion):
    """The absolute value of the weight: `s = |w|`.

    Use it while training: it needs no data, costs one pass over the weights, and with retraining
    is hard to beat.

    Example:
        >>> kprune.prune(model, 0.5, criterion="magnitude")

    Reference:
        Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
    """

    def score(self, weight: weights.Weight, evidence: Any) -> scores.Lazy:
        """Returns the magnitudes, computed as they are read."""
        return scores.Lazy(np.abs, weight.values)
