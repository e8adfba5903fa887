"""Scores weights, one formula a file."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from kprune._masking.weight import Weight
from kprune._second_order.hessian import MEMBERS as ESTIMATORS
from kprune._second_order.hessian import (
    Backward,
    DiagonalEstimator,
    EmpiricalFisher,
    EstimatorName,
    Exact,
    GaussNewton,
    Hutchinson,
)
from kprune._second_order.layer_inputs.readers import READERS
from kprune._support import registration, signatures
from kprune.criteria._accumulation import Accumulation
from kprune.criteria.criterion import Calibrated, Criterion, Stage
from kprune.criteria.magnitude import Magnitude
from kprune.criteria.movement import Movement
from kprune.criteria.obd import OBD
from kprune.criteria.obs import OBS
from kprune.criteria.random import Random
from kprune.criteria.saliency import Saliency
from kprune.criteria.sparse_gpt import SparseGPT
from kprune.criteria.wanda import Wanda

__all__ = [
    "MEMBERS",
    "OBD",
    "OBS",
    "READERS",
    "ESTIMATORS",
    "Accumulation",
    "Backward",
    "Calibrated",
    "Criterion",
    "CriterionName",
    "DiagonalEstimator",
    "EmpiricalFisher",
    "EstimatorName",
    "Exact",
    "GaussNewton",
    "Hutchinson",
    "Magnitude",
    "Movement",
    "Random",
    "Saliency",
    "SparseGPT",
    "Stage",
    "Wanda",
    "Weight",
    "get",
]

CriterionName: TypeAlias = Literal[
    "magnitude", "random", "saliency", "movement", "obd", "obs", "wanda", "sparse_gpt"
]

MEMBERS: dict[str, Callable[[], Criterion]] = {
    "magnitude": Magnitude,
    "random": Random,
    "saliency": Saliency,
    "movement": Movement,
    "obd": OBD,
    "obs": OBS,
    "wanda": Wanda,
    "sparse_gpt": SparseGPT,
}

OTHER_NAMES = {  # of other packages
    "abs": "magnitude",
    "fisher": "obd",
    "gradient": "saliency",
    "hessian": "obs",
    "l1": "magnitude",
    "l1_unstructured": "magnitude",
    "l2": "magnitude",
    "ln": "magnitude",
    "snip": "saliency",
    "sparsegpt": "sparse_gpt",
    "taylor": "saliency",
}


@signatures.explained
def get(identifier: Any) -> Criterion:
    """Returns the criterion that a name, a config or a criterion stands for.

    Args:
        identifier: a name among `MEMBERS`, a config, or a criterion.

    Raises:
        ValueError: the name is unknown.
        TypeError: it is none of these.

    Example:
        >>> kprune.criteria.get("magnitude")
        Magnitude()
    """
    return registration.resolve(identifier, Criterion, MEMBERS, "criterion", OTHER_NAMES)  # type: ignore[type-abstract]
