"""Updates the masks of a model: observe, allocate, score, select, compensate, write."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kprune import allocations, criteria, refits
from kprune._masking import masked_weights
from kprune._masking.weight import Weight
from kprune._selection import scores, threshold
from kprune._support import progress
from kprune._support.typing import Array


def update_masks(
    model: keras.Model,
    weights: Sequence[Weight],
    sparsity: float,
    criterion: criteria.Criterion,
    allocation: allocations.Allocation,
    refit: refits.Refit | None,
) -> bool:
    """Prunes the masked weights of a model to a sparsity.

    Args:
        model: the model.
        weights: its masked weights.
        sparsity: fraction of them that is to be zero.
        criterion: how weights are scored.
        allocation: how the zeros are shared out.
        refit: what becomes of the survivors. Default: what the criterion makes of them.

    Returns:
        Whether anything was pruned.
    """
    quotas = _unmet(allocation.quotas(weights, sparsity))
    if not quotas:
        return False
    groups = criterion.groups(model, weights)
    if len(groups) == 1 and refit is not None:
        groups = refit.groups(model, weights)
    if len(groups) == 1:
        _update(model, weights, quotas, criteria.Stage(sparsity), criterion, refit)
    else:
        _update_in_order(model, weights, groups, quotas, sparsity, criterion, refit)
    masked_weights.note_update(model)
    return True


def _update(
    model: keras.Model,
    weights: Sequence[Weight],
    quotas: Sequence[allocations.Quota],
    stage: criteria.Stage,
    criterion: criteria.Criterion,
    refit: refits.Refit | None,
) -> None:
    """Everything that can fail comes before the first write."""
    statistics = criterion.observe(model, weights, stage)
    masks = _select(weights, quotas, criterion, statistics)
    if refit is None:
        values = criterion.compensate(weights, masks, statistics) or {}
    else:
        values = refit.compensate(model, weights, masks, statistics, stage.before)
    _check_finite(values)
    for place, weight in enumerate(weights):
        if masks.changes(weight) or weight in values:
            weight.write(masks[place], values.get(weight))


def _update_in_order(
    model: keras.Model,
    weights: Sequence[Weight],
    groups: Sequence[Sequence[Weight]],
    quotas: Sequence[allocations.Quota],
    sparsity: float,
    criterion: criteria.Criterion,
    refit: refits.Refit | None,
) -> None:
    """Prunes one group of weights after another, each observed when those before it are pruned.

    Where a quota spans several groups, the model as it is first says how many weights of each are
    to be pruned; which ones they are is decided when the group's turn comes.
    """
    group_of = {id(weight): place for place, group in enumerate(groups) for weight in group}
    if any(len({group_of[id(each)] for each in quota.weights}) > 1 for quota in quotas):
        statistics = criterion.observe(model, weights, criteria.Stage(sparsity))
        masks = _select(weights, quotas, criterion, statistics)
        zeros = [
            weight.size - int(np.count_nonzero(mask))
            for weight, mask in zip(weights, masks, strict=True)
        ]
        del statistics, masks
        quotas = _unmet(
            allocations.Quota([weight], count) for weight, count in zip(weights, zeros, strict=True)
        )
    before: dict[Weight, Array] = {}
    with masked_weights.restored_on_error(weights) as values:
        for place, group in enumerate(groups):
            own = [quota for quota in quotas if group_of[id(quota.weights[0])] == place]
            if own:
                wanted = sum(quota.zeros for quota in own) / sum(weight.size for weight in group)
                stage = criteria.Stage(wanted, before)
                _update(model, group, own, stage, criterion, refit)
                before |= {weight: values[weight] for weight in group}


def _select(
    weights: Sequence[Weight],
    quotas: Sequence[allocations.Quota],
    criterion: criteria.Criterion,
    statistics: Any,
) -> "NewMasks":
    """Scores the weights of each quota, and finds the threshold below which its zeros lie."""
    masks = NewMasks(weights)
    for quota in quotas:
        kept = [weight.kept() for weight in quota.weights]
        pruned = [weight.size - count for weight, count in zip(quota.weights, kept, strict=True)]
        divisors = quota.divisors or [1.0] * len(quota.weights)
        scored, fixed = [], 0
        rows = list(zip(quota.weights, pruned, divisors, strict=True))
        for weight, zeros, divisor in progress.track(rows, "scoring"):
            own = criterion.score(weight, statistics)
            protected = _protect_highest(weight, own) if weight.floor else None
            fixed += 0 if protected is None else int(np.count_nonzero(protected))
            tensor = scores.ScoredTensor(
                own,
                eligible=weight.alive if zeros else None,
                protected=protected,
                divisor=divisor,
                name=weight.path,
            )
            scored.append(weight.pattern.piece_scores(tensor, weight.view))
        free = sum(kept) - fixed
        count = min(quota.zeros - sum(pruned), free) if fixed else quota.zeros - sum(pruned)
        masks.add(quota, threshold.find_threshold(scored, count))
    return masks


def _protect_highest(weight: Weight, own: Any) -> Array:
    """Returns a mask of the highest scores of a weight, as many as its floor."""
    flat = np.asarray(own, np.float64).reshape(-1).copy()
    flat[~weight.alive().reshape(-1)] = -np.inf
    count = min(weight.floor, weight.kept())
    protected = np.zeros(flat.size, bool)
    if count:
        protected[np.argpartition(flat, flat.size - count)[flat.size - count :]] = True
    return protected.reshape(tuple(weight.variable.shape))


class NewMasks(Sequence[Array]):
    """The masks to come, each made when it is asked for, from weights not yet written."""

    def __init__(self, weights: Sequence[Weight]) -> None:
        self._weights = weights
        self._thresholds: dict[int, tuple[threshold.AnyThreshold, int]] = {}

    def add(self, quota: allocations.Quota, found: threshold.AnyThreshold) -> None:
        """Notes the threshold of a quota's weights."""
        for place, weight in enumerate(quota.weights):
            self._thresholds[id(weight)] = found, place

    def changes(self, weight: Weight) -> bool:
        """Returns whether a weight is in a quota that has something to prune."""
        return id(weight) in self._thresholds

    def __len__(self) -> int:
        return len(self._weights)

    def __getitem__(self, index: Any) -> Any:
        weight = self._weights[index]
        if not self.changes(weight):
            return weight.alive()
        found, place = self._thresholds[id(weight)]
        keep = weight.pattern.weight_mask(found.survivors(place), weight.view)
        return np.logical_and(keep, weight.alive(), out=keep)  # a block may be partly pruned


def _unmet(quotas: Iterable[allocations.Quota]) -> list[allocations.Quota]:
    """Returns the quotas that have something to prune."""
    return [
        quota
        for quota in quotas
        if quota.zeros > sum(weight.size - weight.kept() for weight in quota.weights)
    ]


def _check_finite(values: Mapping[Weight, Any]) -> None:
    for weight, array in values.items():
        if not np.isfinite(np.asarray(array, np.float32)).all():
            raise ValueError(
                f"The survivors of {weight.path} would move to NaN or infinity; nothing was "
                'written. Write damping="auto" or a larger one, or look for such numbers in the '
                "model's weights with numpy.isfinite."
            )
