"""Shares the zeros out among the classes of weights.

An allocation turns a sparsity into quotas. Within a quota all weights compete, each score in units
of its divisor; between quotas nothing does. Over all quotas the zeros number exactly
`round(sparsity * n)`, n the masked weights of the model.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np

from kprune._masking.weight import Weight
from kprune._selection import scores
from kprune._support import registration


@dataclasses.dataclass(frozen=True)
class Quota:
    """How many zeros a set of weights that compete must have.

    Args:
        weights: the weights that compete.
        zeros: how many of their values are to be zero, those that are already among them.
        divisors: the unit of each weight's scores. Default: one for all.
    """

    weights: Sequence[Weight]
    zeros: int
    divisors: Sequence[float] | None = None


class Allocation(registration.Member, abc.ABC):
    """How zeros are shared out. Subclasses are frozen dataclasses that implement `quotas`."""

    @abc.abstractmethod
    def quotas(self, weights: Sequence[Weight], sparsity: float) -> list[Quota]:
        """Turns the sparsity of all the weights together into quotas."""


@registration.register
@dataclasses.dataclass(frozen=True)
class ClassBlind(Allocation):
    """All weights in one quota, whatever their class.

    Use it first: it is the best of the three schemes in its paper, and lets a layer with much to
    spare give more. `prune the k lowest scores of all`

    Example:
        >>> kprune.prune(model, 0.9, allocation="class_blind")

    Reference:
        See, Luong and Manning, Compression of Neural Machine Translation Models via Pruning, 2016.
    """

    def quotas(self, weights: Sequence[Weight], sparsity: float) -> list[Quota]:
        """One quota for everything."""
        return [Quota(weights, _count_zeros(weights, sparsity))]


@registration.register
@dataclasses.dataclass(frozen=True)
class ClassUniform(Allocation):
    """The same fraction of every class.

    Use it where no class may be starved, or where scores of different classes mean different
    things. A weight competes with its rank in its class, divided by the size of the class:
    `prune the k lowest of rank / n_c`, which is x % of each class, rounded so that the total is
    exact.

    Example:
        >>> kprune.prune(model, 0.9, allocation="class_uniform")

    Reference:
        See, Luong and Manning, Compression of Neural Machine Translation Models via Pruning, 2016.
    """

    def quotas(self, weights: Sequence[Weight], sparsity: float) -> list[Quota]:
        """A quota for each class."""
        groups = list(group_by_class(weights).values())
        sizes = [_count_values(group) for group in groups]
        counts = _count_lowest_ranks(sizes, _count_zeros(weights, sparsity))
        return [Quota(group, count) for group, count in zip(groups, counts, strict=True)]


@registration.register
@dataclasses.dataclass(frozen=True)
class ClassDistribution(Allocation):
    """One threshold for all, in standard deviations of each class.

    Use it where classes differ in scale and the scale carries no meaning: the result does not
    change when all weights of a class are multiplied by a number. `prune |w| < lambda * sigma_c`,
    `lambda` solved for the wanted total, `sigma_c` over the surviving weights of the class.

    Example:
        >>> kprune.prune(model, 0.9, allocation="class_distribution")

    Reference:
        See, Luong and Manning, Compression of Neural Machine Translation Models via Pruning, 2016.
    """

    def quotas(self, weights: Sequence[Weight], sparsity: float) -> list[Quota]:
        """One quota for everything, each class in units of its standard deviation."""
        spread = {
            name: standard_deviation(group) for name, group in group_by_class(weights).items()
        }
        # A class without spread has a threshold of zero and gives its weights last.
        divisors = [max(spread[weight.label], np.finfo(float).tiny) for weight in weights]
        return [Quota(weights, _count_zeros(weights, sparsity), divisors)]


@registration.register
@dataclasses.dataclass(frozen=True)
class ERK(Allocation):
    """Erdos-Renyi-Kernel: small kernels stay denser than large ones.

    Use it for convolutional networks at high sparsity. The kept weights of a kernel are
    proportional to the sum of its axes, `kept_l ~ sum(shape_l)`, its density to
    `sum(shape_l) / prod(shape_l)`; a kernel that would be more than dense stays dense and the
    others share the rest. Classes play no part.

    Example:
        >>> kprune.prune(model, 0.9, allocation="erk")

    Reference:
        Evci et al., Rigging the Lottery: Making All Tickets Winners, 2020.
    """

    def quotas(self, weights: Sequence[Weight], sparsity: float) -> list[Quota]:
        """A quota for each weight."""
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
    """A sparsity of one's own for each class.

    Use it where sensitivity is known. The given sparsities are met when the wanted total is their
    own; at any other total, as along a schedule, each class has the same part of its target:
    `zeros_c ~ targets[c] * n_c`, at most all of them. `kprune.prune(model, {"dense": 0.9})` prunes
    to the targets themselves.

    Args:
        targets: class to sparsity, in [0, 1). Classes that are not named stay as they are.

    Raises:
        ValueError: a target outside [0, 1), or a class that the model does not have.

    Example:
        >>> kprune.prune(model, {"lenet/dense": 0.92, "lenet/dense_1": 0.9})
    """

    targets: Mapping[str, float]

    def __post_init__(self) -> None:
        for name, target in self.targets.items():
            registration.validate_sparsity(target, f"targets[{name!r}]")

    def quotas(self, weights: Sequence[Weight], sparsity: float) -> list[Quota]:
        """A quota for each class that has a target."""
        groups = self._groups(weights)
        sizes = [_count_values(group) for group in groups.values()]
        shares = [self.targets[name] * size for name, size in zip(groups, sizes, strict=True)]
        counts = _apportion(_count_zeros(weights, sparsity), shares, sizes)
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
                known = ", ".join(f'"{group}"' for group in groups)
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
    """Returns the standard deviation of the surviving weights, in two passes over pieces."""
    size = mean = square = 0.0
    for center in (False, True):
        size = total = 0.0
        for weight in weights:
            values, alive = weight.values().reshape(-1), weight.alive().reshape(-1)
            for start in range(0, values.size, scores.PIECE):
                piece = slice(start, start + scores.PIECE)
                here = values[piece][alive[piece]].astype(np.float64)
                size += here.size
                total += float(np.sum((here - mean) ** 2 if center else here))
        mean, square = (mean, total) if center else (total / max(size, 1), 0.0)
    return math.sqrt(square / max(size, 1))


def _count_lowest_ranks(sizes: Sequence[int], count: int) -> list[int]:
    """How many of the `count` lowest values of rank / size, rank = 0.., lie in each class.

    Ties keep the earlier class. Starts from the proportional share, rounded up, and gives back
    the highest ranks: at most one step for each class, and none for the weights.
    """
    whole = max(1, sum(sizes))
    counts = [-(-count * size // whole) for size in sizes]
    while sum(counts) > count:
        # Fractions compared exactly: the highest last rank, the earliest class among equals.
        last = max(
            (index for index, number in enumerate(counts) if number),
            key=lambda index: (Fraction(counts[index] - 1, sizes[index]), -index),
        )
        counts[last] -= 1
    return counts


def _apportion(count: int, shares: Sequence[float], capacities: Sequence[int]) -> list[int]:
    """Shares `count` out in proportion, none above its capacity, the remainders to the largest."""
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

MEMBERS = {
    "class_blind": ClassBlind,
    "class_uniform": ClassUniform,
    "class_distribution": ClassDistribution,
    "erk": ERK,
}


def get(identifier: Any) -> Allocation:
    """Returns the allocation that a name, a config, an allocation or class targets stand for."""
    if isinstance(identifier, Mapping) and "class_name" not in identifier:
        return Fixed(dict(identifier))
    return registration.resolve(identifier, Allocation, MEMBERS, "allocation")  # type: ignore[type-abstract]
