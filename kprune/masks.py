"""Exact selection: which scores fall when `count` weights must go.

The scores of a model lie in many arrays, one for each weight, and a class-blind cut ranks them all
together. Nothing is sorted whole and nothing is concatenated. A sample brackets the score at the
cut; one pass over the arrays counts what lies below the bracket and collects the few per cent that
lie in it; among these the score at the cut is found by partition. A bracket that missed, or that
holds too many ties, is narrowed and tried again, so the result never depends on the sample. The
cost is linear in the number of scores, two passes as a rule, and the extra memory is one piece of
an array at a time and what the bracket holds.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kprune import scores

Array = scores.Array

SAMPLE = 1 << 14  # scores that a bracket is drawn from
COLLECT = 1 / 16  # the part of all scores that a bracket may hold to be collected


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """Where a cut falls: every score below `score` goes, and of the ties the first stay.

    Made by `cut`; `survivors` turns it into masks.

    Args:
        parts: what was cut.
        score: the score at the cut; infinite where everything eligible goes.
        kept_ties: how many of each part's scores that equal `score` stay.
    """

    parts: Sequence[scores.Part]
    score: float
    kept_ties: Sequence[int]

    def survivors(self, index: int) -> Array:
        """The mask of part `index`, shaped as its scores: true where the score outlives the cut."""
        part, left = self.parts[index], self.kept_ties[index]
        reading = part.reading(type(self.score))
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
        return keep.reshape(part.scores.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Tiers:
    """Two cuts, one after the other: of everything else, then of what was spared."""

    others: Cut
    spared: Cut

    def survivors(self, index: int) -> Array:
        """The mask of part `index`, shaped as its scores: true where the score outlives both."""
        keep: Array = self.others.survivors(index) | self.spared.survivors(index)
        return keep


def cut(parts: Sequence[scores.Part], count: int) -> Cut | Tiers:
    """Finds the cut below which `count` weights fall, over all the parts together.

    Use it wherever weights of several arrays compete. Exactly `count` fall where every score
    stands for one weight; with `sizes`, whole groups fall until the number of weights is nearest
    to `count`. Ties keep the lowest flat index, the earlier part first.

    Args:
        parts: the arrays that compete.
        count: how many eligible weights are to fall; all of them where it is that many or more.

    Returns:
        The cut; nothing is written anywhere.

    Raises:
        ValueError: an eligible score is NaN; the message names its part.

    Example:
        >>> cut([scores.Part(np.array([3.0, 1.0])), scores.Part(np.array([2.0]))], 2).survivors(0)
        array([ True, False])
    """
    if any(part.spared is not None for part in parts):
        others, spared = ([part.tier(each) for part in parts] for each in (False, True))
        first = sum(part.reading(np.float64).total() for part in others)
        return Tiers(_cut(others, min(count, first)), _cut(spared, max(0, count - first)))
    return _cut(parts, count)


def _cut(parts: Sequence[scores.Part], count: int) -> Cut:
    wide = any(part.scores.dtype.itemsize > 4 or part.divisor != 1 for part in parts)
    real: Any = np.float64 if wide else np.float32
    readings = [part.reading(real) for part in parts]
    total, size = sum(each.total() for each in readings), sum(each.size for each in readings)
    if count >= total:
        for reading in readings:  # nothing to rank, but what cannot be ranked must show here too,
            collections.deque(reading.pieces(), maxlen=0)  # before anything is written
        return Cut(parts, real(np.inf), [0] * len(parts))
    sized = any(each.sizes is not None for each in readings)
    generator = np.random.default_rng(0)
    low, high = real(-np.inf), real(np.inf)  # the score at the cut lies in [low, high],
    below, inside = 0, total  # with so many weights under `low`, and so many from there to `high`
    while True:
        a, b, limit = low, high, math.inf
        if size > SAMPLE:
            a, b = _bracket(readings, low, high, (count - below) / inside, generator)
            # Groups are few, and their ties have sizes that must be seen.
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
            return Cut(parts, *_at(counts, a, b, count - under))


def _bracket(
    readings: Sequence[scores.Reading], low: Any, high: Any, place: float, generator: Any
) -> tuple[Any, Any]:
    """Two scores of [low, high] between which, by a sample, the score at `place` lies.

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
    """The score of [a, b] at which `fall` weights have gone, and each part's ties that stay."""
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
    """The score that is number `fall`, counted from 0, and how many of its ties stay."""
    score = np.partition(found, fall)[fall]
    return score, int(np.count_nonzero(found <= score)) - fall


def _lowest_groups(found: Array, sizes: Array, fall: int) -> tuple[Any, int]:
    """The same for groups: tied ones fall from the last back, until nearly `fall` weights have."""
    order = np.argsort(found)
    score = found[order][np.searchsorted(np.cumsum(sizes[order]), fall, side="right")]
    tied, left = sizes[found == score], fall - int(sizes[found < score].sum())
    reach = np.concatenate([[0], np.cumsum(tied[::-1])])
    after = int(np.searchsorted(reach, left))  # the fewest groups that reach what is left
    before = max(after - 1, 0)
    return score, tied.size - (after if reach[after] - left <= left - reach[before] else before)
