"""Optimal Brain Damage: what the loss would not miss, to second order, each weight by itself."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kprune._masking.weight import Weight
from kprune._second_order import hessian
from kprune._support import registration
from kprune._support.typing import Array
from kprune.criteria import criterion


@registration.register
@dataclasses.dataclass(frozen=True)
class OBD(criterion.Calibrated):
    """The change of the loss when the weight goes, to second order: `s = h * w^2 / 2`.

    Use it on a trained model, where gradients are small and the curvature says what matters, and
    where the survivors will be retrained. `h` is the diagonal of the Hessian of the model's own
    compiled loss, with dropout off and batch normalisation in inference mode; cross terms are
    ignored. Estimates of `h` may be negative where the estimator is "exact", "hutchinson", or
    "backward" with the second derivative of the activation: such weights go first.

    Args:
        data: batches (x, y) or (x, y, sample_weight), or one tuple of whole arrays. It is left out
            of the config.
        estimator: how `h` is found: "gauss_newton", "empirical_fisher", "hutchinson", "exact",
            "backward", or a member of this module such as `Hutchinson(probes=8)`.
        batch_size: samples in a batch where `data` is a tuple of arrays.
        recomputations: in how many parts a cut is made, each with a new diagonal.

    Raises:
        ValueError: there is no data, it has no labels, the model is not compiled, or it is not
            made of what the estimator knows.

    Example:
        >>> kprune.prune(model, 0.5, criterion=kprune.criteria.OBD((x, y)))

    Reference:
        LeCun, Denker and Solla, Optimal Brain Damage, 1990.
    """

    estimator: Any = "gauss_newton"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "estimator", hessian.get(self.estimator))

    def observe(
        self, model: keras.Model, weights: Sequence[Weight], stage: criterion.Stage
    ) -> dict[Weight, Array]:
        """Finds the diagonal of the Hessian."""
        data = self.calibration(model, labelled=True)
        loss = hessian.Objective(model, [weight.variable for weight in weights], "OBD")
        return dict(zip(weights, self.estimator.diagonal(loss, data), strict=True))

    def score(self, weight: Weight, statistics: dict[Weight, Array]) -> Array:
        """Returns half the curvature times the squared weight."""
        return statistics[weight] * np.square(weight.values(), dtype=np.float64) / 2
