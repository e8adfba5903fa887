"""Builds the criterion that a flag names."""

import dataclasses
from typing import Any

import kprune


def build_criterion(name: str, **offered: Any) -> kprune.criteria.Criterion:
    """Returns a criterion, given those of the offered values that it has a parameter for.

    Args:
        name: in `kprune.criteria.MEMBERS`.
        **offered: data, seed, batch size and the like.

    Example:
        >>> build_criterion("random", data=(x, y), seed=3)
        Random(seed=3)
    """
    member = kprune.criteria.MEMBERS[name]
    names = {field.name for field in dataclasses.fields(member)}
    return member(**{key: value for key, value in offered.items() if key in names})
