"""Scores weights by the change of the loss to second order (Optimal Brain Damage)."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from kprune._keras import backend
from kprune._masking.weight import Weight
from kprune._second_order import hessian
from kprune._support import registration
from kprune._support.typing import Array
from kprune.criteria import criterion

__all__ = ["OBD"]


@registration.register
@dataclasses.dataclass(frozen=True)
class OBD(criterion.Calibrated):
    """Scores weights by the change of the loss to second order: `s = h * w^2 / 2`.

    Use it on a trained model, whose gradients are small, if the survivors are retrained. `h` is the
    diagonal of the Hessian of the model's own compiled loss, with dropout off and batch
    normalisation in inference mode; cross terms are ignored. Estimates of `h` may be negative if
    the estimator is "exact", "hutchinson", or "backward" with the second derivative of the
    activation: such weights are pruned first.

    Args:
        data: batches (x, y) or (x, y, sample_weight), or one tuple of whole arrays. It is left out
            of the config.
        estimator: the estimator of `h`: "gauss_newton", "empirical_fisher", "hutchinson", "exact",
            "backward", or a member of `kprune.criteria` such as `Hutchinson(probes=8)`.
        batch_size: samples in a batch if `data` is a tuple of arrays.
        recomputations: the number of steps of a mask update, each with new diagonals.

    Raises:
        ValueError: there is no data, it has no labels, the model is not compiled, or it has layers
            that the estimator does not support.

    Example:
        >>> kprune.prune(model, 0.5, criterion=kprune.criteria.OBD((x, y)))

    Reference:
        LeCun, Denker and Solla, Optimal Brain Damage, 1990.
    """

    estimator: hessian.DiagonalEstimator | hessian.EstimatorName = "gauss_newton"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "estimator", hessian.get(self.estimator))

    def observe(
        self, model: keras.Model, weights: Sequence[Weight], stage: criterion.Stage
    ) -> dict[Weight, Array]:
        """Estimates the diagonal of the Hessian."""
        backend.require_tensorflow("The second derivative of the loss, for OBD,")
        data = self.calibration(model, labelled=True)
        loss = hessian.Objective(model, [weight.variable for weight in weights], "OBD")
        diagonals = hessian.get(self.estimator).diagonal(loss, data)
        return dict(zip(weights, diagonals, strict=True))

    def score(self, weight: Weight, statistics: dict[Weight, Array]) -> Array:
        """Returns half the curvature times the squared weight."""
        return statistics[weight] * np.square(weight.values(), dtype=np.float64) / 2
