"""Curvature: of a model's own loss through TensorFlow's tapes, and of its layers' inputs."""

from typing import Any

from kprune import registration
from kprune.curvature import inputs, inverse, objective
from kprune.curvature.backward import Backward
from kprune.curvature.diagonals import (
    Diagonal,
    EmpiricalFisher,
    Exact,
    GaussNewton,
    Hutchinson,
)
from kprune.curvature.factors import Factors, Kind
from kprune.curvature.grams import Gram, Split
from kprune.curvature.objective import Objective
from kprune.curvature.observation import in_order, observe
from kprune.curvature.products import hessian_vector

__all__ = [
    "Backward",
    "Diagonal",
    "EmpiricalFisher",
    "Exact",
    "Factors",
    "GaussNewton",
    "Gram",
    "Hutchinson",
    "Kind",
    "Objective",
    "Split",
    "get",
    "hessian_vector",
    "in_order",
    "inputs",
    "inverse",
    "objective",
    "observe",
]

MEMBERS = {
    "gauss_newton": GaussNewton,
    "empirical_fisher": EmpiricalFisher,
    "hutchinson": Hutchinson,
    "exact": Exact,
    "backward": Backward,
}


def get(identifier: Any) -> Diagonal:
    """Returns the estimator that a name, a config or an estimator stands for."""
    return registration.get(identifier, Diagonal, MEMBERS, "estimator")  # type: ignore[type-abstract]
