"""Exact selection: which scores fall when `count` weights must go.

The scores of a model lie in many arrays, one for each weight, and a class-blind cut ranks them all
together. Nothing is sorted and nothing is concatenated: the floats are read as integers of the
same order, and the integer at the cut is found digit by digit from histograms, as in a radix
sort that follows one bucket only. The cost is linear in the number of scores (four passes for
float32), and the extra memory is one piece of an array at a time.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

DIGIT = 11  # bits decided by a pass: 2048 buckets stay in the first-level cache
PIECE = 1 << 15  # scores read at a time: their keys stay in the second-level cache


@dataclasses.dataclass(frozen=True, eq=False)
class Lazy:
    """Scores that are computed a piece at a time, so that they never exist all at once.

    Use it for a criterion that is a function of each weight alone.

    Args:
        function: maps an array of values to an array of scores, element by element.
        source: returns the values. It is asked anew for every pass, so that no view of a
            variable's buffer outlives the pass and keeps the buffer from being freed.

    Example:
        >>> np.asarray(Lazy(np.abs, lambda: np.array([-2.0, 1.0])))
        array([2., 1.])
    """

    function: Callable[[Array], Array]
    source: Callable[[], Array]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values."""
        return self.source().shape

    @property
    def size(self) -> int:
        """How many values there are."""
        return self.source().size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the scores."""
        return self.function(self.source().reshape(-1)[:0]).dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self.function(self.source()), dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One array that takes part in a cut.

    Args:
        scores: a floating array, or `Lazy`; a higher score is kept.
        eligible: boolean, shaped as the scores, or a function that returns it; false where
            nothing is left to cut. Default: all.
        sizes: how many weights fall with each score, shaped as the scores. Default: one.
        spared: boolean, shaped as the scores; true for those that may fall only when every other
            eligible score of the cut has fallen. Default: none.
        divisor: the unit of the scores, which makes those of different parts comparable.
        name: what an error calls this part.
    """

    scores: Array | Lazy
    eligible: Array | Callable[[], Array] | None = None
    sizes: Array | None = None
    spared: Array | None = None
    divisor: float = 1.0
    name: str = "weight"

    def pieces(self, keys: "Keys") -> Iterator[tuple[slice, Array, Array | None]]:
        """Yields each piece, its keys, and which of them are eligible."""
        lazy = self.scores if isinstance(self.scores, Lazy) else None
        scores = (self.scores.source() if isinstance(self.scores, Lazy) else self.scores).reshape(
            -1
        )
        eligible = self.eligible() if callable(self.eligible) else self.eligible
        for start in range(0, scores.size, PIECE):
            piece = slice(start, start + PIECE)
            values = lazy.function(scores[piece]) if lazy else scores[piece]
            here = None if eligible is None else eligible.reshape(-1)[piece]
            read = values if here is None else values[here]
            if read.size and np.isnan(np.min(read)):
                raise ValueError(
                    f"The scores of {self.name} hold NaN; every score must be a number to be "
                    f"ranked. Look at the weight with `numpy.isnan({self.name}).any()`: a model "
                    "that holds NaN has diverged and must be restored before it is pruned."
                )
            spared = None if self.spared is None else self.spared.reshape(-1)[piece]
            yield piece, keys(values, self.divisor, spared), here


@dataclasses.dataclass(frozen=True)
class Keys:
    """Maps scores to unsigned integers of the same order; the two zeros are one key.

    A float's bits, read as an integer, already rise with its magnitude; flipping the sign bit of
    the positive ones and every bit of the negative ones makes them rise with its value.

    Args:
        wide: 64 bits, for float64 scores and for scores in units of their own.
        tiers: spend the highest bit on `spared`. The lowest bit of a float64 makes room for it,
            which no float32 score has set.
    """

    wide: bool
    tiers: bool

    @property
    def bits(self) -> int:
        """The width of a key."""
        return 64 if self.wide else 32

    def __call__(self, scores: Array, divisor: float, spared: Array | None) -> Array:
        """Returns the keys of scores in units of `divisor`."""
        kinds: Any = np.float32, np.int32, np.uint32
        if self.wide:
            kinds = np.float64, np.int64, np.uint64
        real, signed, unsigned = kinds
        with np.errstate(over="ignore"):
            values = scores.astype(real) / real(divisor) if divisor != 1 else scores.astype(real)
        values += real(0)  # -0.0 becomes 0.0
        keys = values.view(unsigned)
        flips = values.view(signed) >> signed(self.bits - 1)
        keys ^= flips.view(unsigned) | unsigned(1 << (self.bits - 1))
        if self.tiers:
            keys >>= unsigned(1)
            if spared is not None:
                keys |= spared.astype(unsigned) << unsigned(self.bits - 1)
        return keys


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """Where a cut falls: every key below `key` goes, and of the ties at `key` the first stay.

    Made by `cut`; `survivors` turns it into masks.
    """

    parts: Sequence[Part]
    keys: Keys
    key: int | None
    kept_ties: Sequence[int]

    def survivors(self, index: int) -> Array:
        """The mask of part `index`, shaped as its scores: true where the score outlives the cut."""
        part = self.parts[index]
        keep = np.zeros(part.scores.size, bool)
        if self.key is not None:
            ties = 0
            for piece, keys, eligible in part.pieces(self.keys):
                key = keys.dtype.type(self.key)
                np.greater(keys, key, out=keep[piece])
                if ties <= self.kept_ties[index]:
                    tied = keys == key if eligible is None else (keys == key) & eligible
                    places = np.flatnonzero(tied)
                    keep[piece][places[: self.kept_ties[index] - ties]] = True
                    ties += places.size
                if eligible is not None:
                    keep[piece] &= eligible
        return keep.reshape(part.scores.shape)


def cut(parts: Sequence[Part], count: int) -> Cut:
    """Finds the cut below which `count` weights fall, over all the parts together.

    Use it wherever weights of several arrays compete. Exactly `count` fall where every score
    stands for one weight; with `sizes`, whole groups fall until the number of weights is nearest
    to `count`. Ties keep the lowest flat index, the earlier part first.

    Args:
        parts: the arrays that compete.
        count: how many eligible weights are to fall; all of them where it is that many or more.

    Returns:
        A `Cut`; nothing is written anywhere.

    Raises:
        ValueError: an eligible score is NaN; the message names its part.

    Example:
        >>> cut([Part(np.array([3.0, 1.0])), Part(np.array([2.0]))], 2).survivors(0)
        array([ True, False])
    """
    wide = any(part.scores.dtype.itemsize > 4 or part.divisor != 1 for part in parts)
    tiers = any(part.spared is not None for part in parts)
    keys = Keys(wide=tiers or wide, tiers=tiers)
    scores = sum(part.scores.size for part in parts)
    prefix, below, shift = 0, 0, keys.bits
    while True:
        width = min(DIGIT, shift)
        histograms = [_histogram(part, keys, prefix, shift, width) for part in parts]
        total = np.sum(histograms, axis=0) if parts else np.zeros(1, np.int64)
        reach = np.cumsum(total)
        digit = int(np.searchsorted(reach, count - below, side="right"))
        if digit == len(reach):  # as many as there are: nothing eligible survives
            return Cut(parts, keys, None, ())
        below += int(reach[digit] - total[digit])
        prefix, shift = prefix << width | digit, shift - width
        if shift == 0 or total[digit] <= scores // 16:
            return _finish(parts, keys, prefix, shift, count - below)


def _histogram(part: Part, keys: Keys, prefix: int, shift: int, width: int) -> Array:
    """Counts the weights by the `width` bits below `shift`, among keys that begin with `prefix`."""
    counts = np.zeros(1 << width, np.int64)
    for found, sizes in _bucket(part, keys, prefix, shift):
        unsigned = found.dtype.type
        digits = (found >> unsigned(shift - width)) & unsigned((1 << width) - 1)
        # Sums of integers below 2**53 are exact in bincount's float64 weights.
        counts += np.bincount(digits.astype(np.intp), sizes, 1 << width).astype(np.int64)
    return counts


def _bucket(
    part: Part, keys: Keys, prefix: int, shift: int
) -> Iterator[tuple[Array, Array | None]]:
    """Yields the eligible keys that begin with `prefix`, piece by piece, and their sizes."""
    sizes = None if part.sizes is None else part.sizes.reshape(-1)
    for piece, found, here in part.pieces(keys):
        if shift < keys.bits:
            begin = (found >> found.dtype.type(shift)) == found.dtype.type(prefix)
            here = begin if here is None else begin & here
        each = None if sizes is None else sizes[piece]
        yield (found, each) if here is None else (found[here], None if each is None else each[here])


def _finish(parts: Sequence[Part], keys: Keys, prefix: int, shift: int, count: int) -> Cut:
    """Ends the search by sorting the one bucket that holds the cut, where `count` weights fall."""
    found, sizes = [], []
    for part in parts:
        pieces = list(_bucket(part, keys, prefix, shift)) or [(np.zeros(0, np.uint32), None)]
        found.append(np.concatenate([each for each, _ in pieces]))
        sizes.append(None if part.sizes is None else np.concatenate([n for _, n in pieces]))
    bucket = np.concatenate(found)
    if all(n is None for n in sizes):
        key = np.partition(bucket, count)[count]
        ties = [int(np.count_nonzero(each == key)) for each in found]
        stay = sum(ties) - (count - int(np.count_nonzero(bucket < key)))
    else:
        counted = [
            np.ones(k.size, int) if n is None else n for k, n in zip(found, sizes, strict=True)
        ]
        weights, order = np.concatenate(counted), np.argsort(bucket)
        key = bucket[order][np.searchsorted(np.cumsum(weights[order]), count, side="right")]
        ties = [int(np.count_nonzero(each == key)) for each in found]
        stay = _kept_groups(weights[bucket == key], count - int(weights[bucket < key].sum()))
    kept = []
    for number in ties:
        kept.append(min(number, stay))
        stay -= kept[-1]
    return Cut(parts, keys, int(key), kept)


def _kept_groups(sizes: Array, count: int) -> int:
    """How many of the tied groups stay when, from the last back, nearly `count` weights fall."""
    reach = np.concatenate([[0], np.cumsum(sizes[::-1])])
    after = int(np.searchsorted(reach, count))  # the fewest groups that reach the count
    before = max(after - 1, 0)
    return sizes.size - (after if reach[after] - count <= count - reach[before] else before)
