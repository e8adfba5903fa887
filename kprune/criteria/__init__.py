"""Criteria: how a weight is scored. One formula a file."""

from typing import Any

from kprune import registration
from kprune.criteria.criterion import Criterion
from kprune.criteria.magnitude import Magnitude
from kprune.criteria.random import Random
from kprune.criteria.saliency import Saliency

__all__ = ["Criterion", "Magnitude", "Random", "Saliency", "get"]

MEMBERS = {"magnitude": Magnitude, "random": Random, "saliency": Saliency}


def get(identifier: Any) -> Criterion:
    """Returns the criterion that a name, a config or a criterion stands for."""
    return registration.get(identifier, Criterion, MEMBERS, "criterion")  # type: ignore[type-abstract]
