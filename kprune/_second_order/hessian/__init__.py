"""Computes second derivatives of a model's own loss through TensorFlow's tapes."""

from typing import Any

from kprune._second_order.hessian.backward import Backward
from kprune._second_order.hessian.diagonals import (
    DiagonalEstimator,
    EmpiricalFisher,
    Exact,
    GaussNewton,
    Hutchinson,
)
from kprune._second_order.hessian.factors import Factors, Kind
from kprune._second_order.hessian.objective import Objective
from kprune._second_order.hessian.products import build_hessian_vector_product
from kprune._support import registration

__all__ = [
    "Backward",
    "DiagonalEstimator",
    "EmpiricalFisher",
    "Exact",
    "Factors",
    "GaussNewton",
    "Hutchinson",
    "Kind",
    "Objective",
    "get",
    "build_hessian_vector_product",
]

MEMBERS = {
    "gauss_newton": GaussNewton,
    "empirical_fisher": EmpiricalFisher,
    "hutchinson": Hutchinson,
    "exact": Exact,
    "backward": Backward,
}


def get(identifier: Any) -> DiagonalEstimator:
    """Returns the estimator that a name, a config or an estimator stands for."""
    return registration.resolve(identifier, DiagonalEstimator, MEMBERS, "estimator")  # type: ignore[type-abstract]
