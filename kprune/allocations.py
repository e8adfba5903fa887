"""Distributes the zeros over the classes of weights.

An allocation turns a sparsity into quotas. The weights of one quota compete, each score divided by
its divisor; weights of different quotas do not compete. All quotas together have exactly
`round(sparsity * n)` zeros, n the number of masked weights of the model.
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np

from kprune._masking.weight import Weight
from kprune._selection import scores
from kprune._support import registration, signatures

__all__ = [
    "ERK",
    "MEMBERS",
    "Allocation",
    "AllocationName",
    "ClassBlind",
    "ClassDistribution",
    "ClassUniform",
    "Fixed",
    "Quota",
    "get",
]


@signatures.explain_constructor
@dataclasses.dataclass(frozen=True)
class Quota:
    """Holds the number of zeros for a set of weights that compete.

    Args:
        weights: the weights that compete.
        zeros: how many of their values are to be zero, including those that are zero already.
        divisors: for each weight, the number by which its scores are divided. Default: 1.
    """

    weights: Sequence[Weight]
    zeros: int
    divisors: Sequence[float] | None = None


class Allocation(registration.Member, abc.ABC):
    """Distributes the zeros. Subclasses are frozen dataclasses that implement `quotas`."""

    @abc.abstractmethod
    def quotas(self, weights: Sequence[Weight], sparsity: float) -> list[Quota]:
        """Returns quotas for a sparsity of all weights together."""


@registration.register
@dataclasses.dataclass(frozen=True)
class ClassBlind(Allocation):
    """Lets all weights compete, whatever their class.

    Use it first: it is the best of the three schemes in its paper, and prunes more of a layer that
    has more redundant weights. `prune the k lowest scores of all`

    Example:
        >>> kprune.prune(model, 0.9, allocation="class_blind")

    Reference:
        See, Luong and Manning, Compression of Neural Machine Translation Models via Pruning, 2016.
    """

    def quotas(self, weights: Sequence[Weight], sparsity: float) -> list[Quota]:
        """Returns one quota for all weights."""
        return [Quota(weights, _count_zeros(weights, sparsity))]


@registration.register
@dataclasses.dataclass(frozen=True)
class ClassUniform(Allocation):
    """Prunes the same fraction of every class.

    Use it to keep weights in every class, or if the scores of different classes cannot be
    compared. Of each class its part is pruned, `round(x n_c)`; where these do not sum to the exact
    total, large classes have one more or less.

    Example:
        >>> kprune.prune(model, 0.9, allocation="class_uniform")

    Reference:
        See, Luong and Manning, Compression of Neural Machine Translation Models via Pruning, 2016.
    """

    def quotas(self, weights: Sequence[Weight], sparsity: float) -> list[Quota]:
        """Returns a quota for each class."""
        groups = list(group_by_class(weights).values())
        sizes = [_count_values(group) for group in groups]
        counts = _count_nearest(sizes, _count_zeros(weights, sparsity))
        return [Quota(group, count) for group, count in zip(groups, counts, strict=True)]


@registration.register
@dataclasses.dataclass(frozen=True)
class ClassDistribution(Allocation):
    """Uses one threshold for all classes, in units of the standard deviation of each class.

    Use it if classes differ in scale and the scale has no meaning: the result does not
    change when all weights of a class are multiplied by a number. `prune |w| < lambda * sigma_c`,
    with `lambda` solved for the given sparsity, and `sigma_c` the standard deviation of the
    surviving weights of the class.

    Example:
        >>> kprune.prune(model, 0.9, allocation="class_distribution")

    Reference:
        See, Luong and Manning, Compression of Neural Machine Translation Models via Pruning, 2016.
    """

    def quotas(self, weights: Sequence[Weight], sparsity: float) -> list[Quota]:
        """Returns one quota for all weights, each class in units of its standard deviation."""
        deviations = {
            name: standard_deviation(group) for name, group in group_by_class(weights).items()
        }
        # A class of equal weights has a threshold of zero and is pruned last.
        divisors = [max(deviations[weight.label], np.finfo(float).tiny) for weight in weights]
        return [Quota(weights, _count_zeros(weights, sparsity), divisors)]


@registration.register
@dataclasses.dataclass(frozen=True)
class ERK(Allocation):
    """Keeps small kernels denser than large ones (Erdos-Renyi-Kernel).

    Use it for convolutional networks at high sparsity. The number of kept weights of a kernel is
    proportional to the sum of its axes, `kept_l ~ sum(shape_l)`, and its density to
    `sum(shape_l) / prod(shape_l)`. A kernel that would be more than dense stays dense, and the rest
    is distributed over the others. Classes have no effect.

    Example:
        >>> kprune.prune(model, 0.9, allocation="erk")

    Reference:
        Evci et al., Rigging the Lottery: Making All Tickets Winners, 2020.
    """

    def quotas(self, weights: Sequence[Weight], sparsity: float) -> list[Quota]:
        """Returns a quota for each weight."""
        sizes = [weight.size for weight in weights]
        shares = [float(sum(weight.variable.shape)) for weight in weights]
        kept = _apportion(sum(sizes) - _count_zeros(weights, sparsity), shares, sizes)
        return [
            Quota([weight], size - keep)
            for weight, size, keep in zip(weights, sizes, kept, strict=True)
        ]


@registration.register
@dataclasses.dataclass(frozen=True)
class Fixed(Allocation):
    """Prunes each class to its own sparsity.

    Use it if the sensitivity of each class is known. The zeros of each class are proportional to
    its target: `zeros_c ~ targets[c] * n_c`, at most `n_c`. `kprune.prune(model, {"dense": 0.9})`
    prunes exactly to the targets. Along a schedule, each class has the part of its target that the
    schedule has of its final sparsity, and ends with its target.

    Args:
        targets: the sparsity of each class, in [0, 1). Classes without a target are not pruned.

    Raises:
        ValueError: a target outside [0, 1), or a class that the model does not have.

    Example:
        >>> kprune.prune(model, {"lenet/dense": 0.92, "lenet/dense_1": 0.9})
    """

    targets: Mapping[str, float]

    def __post_init__(self) -> None:
        registration.validate_sparsities(self.targets, "targets")

    def quotas(self, weights: Sequence[Weight], sparsity: float) -> list[Quota]:
        """Returns a quota for each class that has a target."""
        groups = self._groups(weights)
        sizes = [_count_values(group) for group in groups.values()]
        shares = [self.targets[name] * size for name, size in zip(groups, sizes, strict=True)]
        zeros, targets = _count_zeros(weights, sparsity), [round(share) for share in shares]
        counts = targets if zeros == sum(targets) else _apportion(zeros, shares, sizes)
        return [Quota(group, n) for group, n in zip(groups.values(), counts, strict=True)]

    def total(self, weights: Sequence[Weight]) -> float:
        """Returns the sparsity of all the weights at which every class meets its target."""
        groups = self._groups(weights)
        zeros = sum(
            round(self.targets[name] * _count_values(group)) for name, group in groups.items()
        )
        return zeros / max(1, _count_values(weights))

    def _groups(self, weights: Sequence[Weight]) -> dict[str, list[Weight]]:
        groups = group_by_class(weights)
        for name in self.targets:
            if name not in groups:
                known = ", ".join(f'"{label}"' for label in groups)
                raise ValueError(
                    f"targets has {name!r}, which is no class of this model; expected some of "
                    f"{known}. Write Fixed({{{next(iter(groups))!r}: {self.targets[name]}}})."
                )
        return {name: groups[name] for name in self.targets}


def _count_values(weights: Sequence[Weight]) -> int:
    return sum(weight.size for weight in weights)


def _count_zeros(weights: Sequence[Weight], sparsity: float) -> int:
    return round(sparsity * _count_values(weights))


def group_by_class(weights: Sequence[Weight]) -> dict[str, list[Weight]]:
    """Returns the weights of each class, in their order."""
    groups: dict[str, list[Weight]] = {}
    for weight in weights:
        groups.setdefault(weight.label, []).append(weight)
    return groups


def standard_deviation(weights: Sequence[Weight]) -> float:
    """Returns the standard deviation of the surviving weights, computed in two passes."""
    size = mean = square = 0.0
    for center in (False, True):
        size = total = 0.0
        for weight in weights:
            values, alive = weight.values().reshape(-1), weight.alive().reshape(-1)
            for start in range(0, values.size, scores.PIECE):
                piece = slice(start, start + scores.PIECE)
                survivors = values[piece][alive[piece]].astype(np.float64)
                size += survivors.size
                total += float(np.sum((survivors - mean) ** 2 if center else survivors))
        mean, square = (mean, total) if center else (total / max(size, 1), 0.0)
    return math.sqrt(square / max(size, 1))


def _count_nearest(sizes: Sequence[int], count: int) -> list[int]:
    """Returns the nearest whole number to each class's part of `count`, with the exact total.

    The parts are rounded; while their sum is off, the class that it moves least from its part, as
    a fraction of its size, is moved by one: a large class, of equal ones the earliest.
    """
    whole = max(1, sum(sizes))
    exact = [Fraction(count * size, whole) for size in sizes]
    counts = [math.floor(part + Fraction(1, 2)) for part in exact]
    while sum(counts) != count:
        sign = 1 if sum(counts) < count else -1
        open_ = [i for i, size in enumerate(sizes) if 0 <= counts[i] + sign <= size]
        moved = min(open_, key=lambda i: (abs(counts[i] + sign - exact[i]) / sizes[i], i))
        counts[moved] += sign
    return counts


def _apportion(count: int, shares: Sequence[float], capacities: Sequence[int]) -> list[int]:
    """Distributes `count` in proportion to shares, at most each capacity, by largest remainder."""
    left, open_ = float(count), set(range(len(shares)))
    exact = [0.0] * len(shares)
    while open_:
        scale = left / max(sum(shares[i] for i in open_), np.finfo(float).tiny)
        full = {i for i in open_ if shares[i] * scale > capacities[i]}
        for i in full or open_:
            exact[i] = float(capacities[i]) if full else shares[i] * scale
        left -= sum(exact[i] for i in full)
        open_ = open_ - full if full else set()
    counts = [math.floor(value + 1e-9) for value in exact]
    order = sorted(range(len(counts)), key=lambda i: (counts[i] - exact[i], i))
    for i in order[: max(0, min(count, sum(capacities)) - sum(counts))]:
        counts[i] += counts[i] < capacities[i]
    return counts


AllocationName: TypeAlias = Literal["class_blind", "class_uniform", "class_distribution", "erk"]

MEMBERS: dict[str, Callable[[], Allocation]] = {
    "class_blind": ClassBlind,
    "class_uniform": ClassUniform,
    "class_distribution": ClassDistribution,
    "erk": ERK,
}

OTHER_NAMES = {  # of other packages
    "global": "class_blind",
    "layerwise": "class_uniform",
    "layer_wise": "class_uniform",
    "local": "class_uniform",
    "uniform": "class_uniform",
}


@signatures.explained
def get(identifier: Any) -> Allocation:
    """Returns the allocation that a name, a config, an allocation or class targets stand for.

    Args:
        identifier: a name among `MEMBERS`, a config, an allocation, or a mapping from class to
            sparsity, which makes `Fixed`.

    Raises:
        ValueError: the name is unknown.
        TypeError: it is none of these.

    Example:
        >>> kprune.allocations.get("erk")
        ERK()
    """
    if isinstance(identifier, Mapping) and "class_name" not in identifier:
        return Fixed(dict(identifier))
    return registration.resolve(identifier, Allocation, MEMBERS, "allocation", OTHER_NAMES)  # type: ignore[type-abstract]
