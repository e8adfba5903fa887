"""Selects exactly the scores that must be pruned when `count` weights are to become zero.

The scores of a model lie in many arrays, one for each weight, and a class-blind selection ranks
them all together. Nothing is sorted whole and nothing is concatenated. A sample brackets the
threshold; one pass over the arrays counts what lies below the bracket and collects the few per cent
that lie in it; among these the threshold is found by partition. A bracket that missed, or that
holds too many ties, is narrowed and tried again, so the result never depends on the sample. The
cost is linear in the number of scores, two passes as a rule, and the extra memory is one piece of
an array at a time and what the bracket holds.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from kprune._selection import scores
from kprune._support.typing import Array

SAMPLE = 1 << 14  # scores that a bracket is drawn from
COLLECT = 1 / 16  # the part of all scores that a bracket may hold to be collected


@dataclasses.dataclass(frozen=True, eq=False)
class Threshold:
    """The score below which every score is pruned; of those that equal it the first are kept.

    Made by `find_threshold`; `survivors` turns it into masks.

    Args:
        tensors: the scores that compete.
        score: the threshold; infinite where everything eligible is pruned.
        kept_ties: how many of each tensor's scores that equal `score` are kept.
    """

    tensors: Sequence[scores.ScoredTensor]
    score: float
    kept_ties: Sequence[int]

    def survivors(self, index: int) -> Array:
        """Returns the mask of tensor `index`, in the shape of its scores: true is kept."""
        tensor, left = self.tensors[index], self.kept_ties[index]
        reading = tensor.reading(type(self.score))
        keep = np.empty(reading.size, bool)
        for piece, values, here in reading.pieces():
            np.greater(values, self.score, out=keep[piece])
            if left:
                tied = values == self.score
                places = np.flatnonzero(tied if here is None else tied & here)[:left]
                keep[piece][places] = True
                left -= places.size
            if here is not None:
                keep[piece] &= here
        return keep.reshape(tensor.scores.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class TwoStepThreshold:
    """Two thresholds, one after the other: of everything else, then of what is protected."""

    others: Threshold
    protected: Threshold

    def survivors(self, index: int) -> Array:
        """Returns the mask of tensor `index`, in the shape of its scores: true is kept."""
        keep: Array = self.others.survivors(index) | self.protected.survivors(index)
        return keep


AnyThreshold: TypeAlias = Threshold | TwoStepThreshold


def find_threshold(tensors: Sequence[scores.ScoredTensor], count: int) -> AnyThreshold:
    """Finds the threshold below which `count` weights lie, over all the tensors together.

    Use it wherever weights of several arrays compete. Exactly `count` are pruned where every score
    stands for one weight; with `sizes`, whole groups are, until the number of weights is nearest
    to `count`. Of ties the lowest flat index is kept, in the earlier tensor first.

    Args:
        tensors: the scores that compete.
        count: how many eligible weights are to be pruned; all where it is that many or more.

    Returns:
        The threshold; nothing is written anywhere.

    Raises:
        ValueError: an eligible score is NaN; the message names its tensor.

    Example:
        >>> a, b = (scores.ScoredTensor(np.array(each)) for each in ([3.0, 1.0], [2.0]))
        >>> find_threshold([a, b], 2).survivors(0)
        array([ True, False])
    """
    if any(tensor.protected is not None for tensor in tensors):
        others, protected = ([tensor.tier(each) for tensor in tensors] for each in (False, True))
        first = sum(tensor.reading(np.float64).total() for tensor in others)
        return TwoStepThreshold(
            _find(others, min(count, first)), _find(protected, max(0, count - first))
        )
    return _find(tensors, count)


def _find(tensors: Sequence[scores.ScoredTensor], count: int) -> Threshold:
    wide = any(tensor.scores.dtype.itemsize > 4 or tensor.divisor != 1 for tensor in tensors)
    real: Any = np.float64 if wide else np.float32
    readings = [tensor.reading(real) for tensor in tensors]
    total, size = sum(each.total() for each in readings), sum(each.size for each in readings)
    if count >= total:
        for reading in readings:  # nothing to rank, but what cannot be ranked must show here too,
            collections.deque(reading.pieces(), maxlen=0)  # before anything is written
        return Threshold(tensors, real(np.inf), [0] * len(tensors))
    sized = any(each.sizes is not None for each in readings)
    generator = np.random.default_rng(0)
    low, high = real(-np.inf), real(np.inf)  # the threshold lies in [low, high],
    below, inside = 0, total  # with so many weights under `low`, and so many from there to `high`
    while True:
        a, b, limit = low, high, math.inf
        if size > SAMPLE:
            a, b = _bracket(readings, low, high, (count - below) / inside, generator)
            # With groups, collect every tied score: which are pruned depends on their sizes.
            limit = math.inf if sized else COLLECT * size
        counts = [each.count(a, b, limit) for each in readings]
        under, upto = sum(each.under for each in counts), sum(each.upto for each in counts)
        if count < under:
            high, inside = np.nextafter(a, real(-np.inf)), under - below
        elif count >= upto:
            low, below, inside = np.nextafter(b, real(np.inf)), upto, below + inside - upto
        elif a < b and any(each.found is None for each in counts):
            low, high, below, inside = a, b, under, upto - under
        else:
            return Threshold(tensors, *_at(counts, a, b, count - under))


def _bracket(
    readings: Sequence[scores.Reading], low: Any, high: Any, place: float, generator: Any
) -> tuple[Any, Any]:
    """Returns two scores of [low, high] between which, by a sample, the score at `place` lies.

    The sample's rank errs by `sqrt(m p (1 - p))`; three of these to either side.
    """
    size = sum(each.size for each in readings)
    drawn = []
    for reading in readings:
        places = generator.integers(max(reading.size, 1), size=SAMPLE * reading.size // size)
        values = reading.scores(places)
        here = (values >= low) & (values <= high)
        drawn.append(values[here if reading.eligible is None else here & reading.eligible[places]])
    sample = np.sort(np.concatenate(drawn))
    margin = 3 * math.sqrt(sample.size * place * (1 - place)) + 2
    first, last = int(place * sample.size - margin), math.ceil(place * sample.size + margin)
    a = sample[first] if first >= 0 else low
    b = sample[last] if last < sample.size else high
    if (a, b) == (low, high) and sample.size:  # many ties, or few left: one of them is the pivot
        a = b = sample[sample.size // 2]
    return a, b


def _at(counts: Sequence[scores.Count], a: Any, b: Any, fall: int) -> tuple[Any, list[int]]:
    """Returns the score of [a, b] that prunes `fall` weights, and each tensor's ties to keep."""
    if a == b and all(each.sizes is None for each in counts):
        score, ties = a, [each.upto - each.under for each in counts]
        stay = sum(ties) - fall
    else:
        found = [np.zeros(0) if each.found is None else each.found for each in counts]
        if all(each.sizes is None for each in counts):
            score, stay = _lowest(np.concatenate(found), fall)
        else:
            ones = [np.ones(each.size, np.int64) for each in found]
            sizes = [o if c.sizes is None else c.sizes for o, c in zip(ones, counts, strict=True)]
            score, stay = _lowest_groups(np.concatenate(found), np.concatenate(sizes), fall)
        ties = [int(np.count_nonzero(each == score)) for each in found]
    kept = []
    for number in ties:
        kept.append(min(number, stay))
        stay -= kept[-1]
    return score, kept


def _lowest(found: Array, fall: int) -> tuple[Any, int]:
    """Returns the score that is number `fall`, from 0, and how many of its ties are kept."""
    score = np.partition(found, fall)[fall]
    return score, int(np.count_nonzero(found <= score)) - fall


def _lowest_groups(found: Array, sizes: Array, fall: int) -> tuple[Any, int]:
    """Returns the same for groups: tied ones are pruned from the last back, up to nearly `fall`."""
    order = np.argsort(found)
    score = found[order][np.searchsorted(np.cumsum(sizes[order]), fall, side="right")]
    tied, left = sizes[found == score], fall - int(sizes[found < score].sum())
    reach = np.concatenate([[0], np.cumsum(tied[::-1])])
    after = int(np.searchsorted(reach, left))  # the fewest groups that reach what is left
    before = max(after - 1, 0)
    return score, tied.size - (after if reach[after] - left <= left - reach[before] else before)
