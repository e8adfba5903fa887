"""One cut: score, share out, select, move the survivors, and write the masks last of all."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kprune import (
    allocations,
    criteria,
    masks,
    progress,
    refits,
    scores,
    weights,
    wrappers,
)

Array = scores.Array


def cut(
    model: keras.Model,
    members: Sequence[weights.Weight],
    sparsity: float,
    criterion: criteria.Criterion,
    allocation: allocations.Allocation,
    refit: refits.Refit | None,
) -> None:
    """Cuts the masked weights of a model to a sparsity.

    Where the criterion or the refit wants one group of weights after another, the allocation first
    says how many of each are to go, by what the whole model looks like; then each group is scored
    anew and cut to that number.

    Args:
        model: the model.
        members: its masked weights.
        sparsity: fraction of them that is to be zero.
        criterion: how weights are scored.
        allocation: how classes compare.
        refit: what becomes of the survivors. Default: what the criterion makes of them.
    """
    cuts = _open(allocation.cuts(members, sparsity))
    if not cuts:
        return
    groups = criterion.groups(model, members)
    if len(groups) == 1 and refit is not None:
        groups = refit.groups(model, members)
    if len(groups) == 1:
        _cut(model, members, cuts, criteria.Stage(sparsity), criterion, refit)
        wrappers.count_cut(model)
        return
    homes = {id(weight): place for place, group in enumerate(groups) for weight in group}
    if any(len({homes[id(weight)] for weight in each.members}) > 1 for each in cuts):
        evidence = criterion.observe(model, members, criteria.Stage(sparsity))
        keep = _select(members, cuts, criterion, evidence)
        del evidence
        cuts = _open(
            allocations.Cut([weight], weight.size - int(np.count_nonzero(keep[place])))
            for place, weight in enumerate(members)
        )
    before: dict[weights.Weight, Array] = {}
    with undone_on_error(members) as held:
        for place, group in enumerate(groups):
            here = [each for each in cuts if homes[id(each.members[0])] == place]
            if here:
                wanted = sum(each.count for each in here) / sum(weight.size for weight in group)
                stage = criteria.Stage(wanted, before)
                _cut(model, group, here, stage, criterion, refit)
                before |= {weight: held[weight] for weight in group}
    wrappers.count_cut(model)


@contextlib.contextmanager
def undone_on_error(
    members: Sequence[weights.Weight],
) -> Iterator[Mapping[weights.Weight, Array]]:
    """Puts masks and values back as they were where a block that writes several times fails.

    Yields:
        The values as they were.
    """
    masks_before = {weight: weight.alive().copy() for weight in members}
    held = {weight: weight.values().copy() for weight in members}
    try:
        yield held
    except BaseException:
        for weight, values in held.items():
            wrappers.write(weight, masks_before[weight], values)
        raise


def _open(cuts: Any) -> list[allocations.Cut]:
    """The cuts that have something to take."""
    return [
        each
        for each in cuts
        if each.count > sum(weight.size - weight.kept() for weight in each.members)
    ]


def _cut(
    model: keras.Model,
    members: Sequence[weights.Weight],
    cuts: Sequence[allocations.Cut],
    stage: criteria.Stage,
    criterion: criteria.Criterion,
    refit: refits.Refit | None,
) -> None:
    """Everything that can fail comes before the first write."""
    evidence = criterion.observe(model, members, stage)
    keep = _select(members, cuts, criterion, evidence)
    if refit is None:
        values = criterion.compensate(members, keep, evidence) or {}
    else:
        values = refit.compensate(model, members, keep, evidence, stage.before)
    _check(values)
    for place, weight in enumerate(members):
        if id(weight) in keep.places or weight in values:
            wrappers.write(weight, keep[place], values.get(weight))


def _select(
    members: Sequence[weights.Weight],
    cuts: Sequence[allocations.Cut],
    criterion: criteria.Criterion,
    evidence: Any,
) -> "Survivors":
    """Scores the weights of each cut and finds where it falls."""
    survivors = Survivors(members)
    for each in cuts:
        dead = [weight.size - weight.kept() for weight in each.members]
        divisors = each.divisors or [1.0] * len(each.members)
        parts = []
        of_weights = list(zip(each.members, dead, divisors, strict=True))
        for weight, gone, divisor in progress.track(of_weights, "scoring"):
            part = scores.Part(
                criterion.score(weight, evidence),
                eligible=weight.alive if gone else None,
                divisor=divisor,
                name=weight.path,
            )
            parts.append(weight.pattern.part(part, weight.view))
        found = masks.cut(parts, each.count - sum(dead))
        for place, weight in enumerate(each.members):
            survivors.places[id(weight)] = found, place
    return survivors


class Survivors(Sequence[Array]):
    """The masks to come, each made when it is asked for, from weights not yet written."""

    def __init__(self, members: Sequence[weights.Weight]) -> None:
        self.members = members
        self.places: dict[int, tuple[masks.Cut | masks.Tiers, int]] = {}

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: Any) -> Any:
        weight = self.members[index]
        if id(weight) not in self.places:  # its cut had nothing to take, or it is in none
            return weight.alive()
        cut, place = self.places[id(weight)]
        keep = weight.pattern.spread(cut.survivors(place), weight.view)
        return np.logical_and(keep, weight.alive(), out=keep)  # a block may be partly gone already


def _check(values: Mapping[weights.Weight, Any]) -> None:
    for weight, array in values.items():
        if not np.isfinite(np.asarray(array, np.float32)).all():
            raise ValueError(
                f"The survivors of {weight.path} would move to NaN or infinity; nothing was "
                'written. Write damping="auto" or a larger one, or look for such numbers in the '
                "model's weights with numpy.isfinite."
            )
