"""Computes second derivatives of a model's own loss with TensorFlow's tapes."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

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
    "MEMBERS",
    "Backward",
    "DiagonalEstimator",
    "EmpiricalFisher",
    "EstimatorName",
    "Exact",
    "Factors",
    "GaussNewton",
    "Hutchinson",
    "Kind",
    "Objective",
    "get",
    "build_hessian_vector_product",
]

EstimatorName: TypeAlias = Literal[
    "gauss_newton", "empirical_fisher", "hutchinson", "exact", "backward"
]

MEMBERS: dict[str, Callable[[], DiagonalEstimator]] = {
    "gauss_newton": GaussNewton,
    "empirical_fisher": EmpiricalFisher,
    "hutchinson": Hutchinson,
    "exact": Exact,
    "backward": Backward,
}


def get(identifier: Any) -> DiagonalEstimator:
    """Returns the estimator that a name, a config or an estimator stands for.

    Args:
        identifier: a name among `MEMBERS`, a config, or an estimator.

    Raises:
        ValueError: the name is unknown.
        TypeError: it is none of these.
    """
    return registration.resolve(identifier, DiagonalEstimator, MEMBERS, "estimator")  # type: ignore[type-abstract]
