"""Reads scores that are ranked together, a piece at a time."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kprune._support.typing import Array

PIECE = 1 << 15  # scores read at a time: what is computed of them stays in the cache


@dataclasses.dataclass(frozen=True, eq=False)
class LazyScores:
    """Scores that are computed a piece at a time, so that they never exist all at once.

    Use it for a criterion that is a function of each weight alone.

    Args:
        function: maps an array of values to an array of scores, element by element.
        source: returns the values. It is asked anew for every pass, so that no view of a
            variable's buffer outlives the pass and keeps the buffer from being freed.

    Example:
        >>> np.asarray(LazyScores(np.abs, lambda: np.array([-2.0, 1.0])))
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
class ScoredTensor:
    """The scores of one array that competes with others.

    Args:
        scores: a floating array, or `LazyScores`; a higher score is kept.
        eligible: boolean, shaped as the scores, or a function that returns it; false where
            nothing is left to prune. Default: all.
        sizes: how many weights are pruned with each score, shaped as the scores. Default: one.
        protected: boolean, shaped as the scores; true for those that may be pruned only when every
            other eligible score has been. Default: none.
        divisor: the unit of the scores, which makes those of different tensors comparable.
        name: what an error calls this tensor.
    """

    scores: Array | LazyScores
    eligible: Array | Callable[[], Array] | None = None
    sizes: Array | None = None
    protected: Array | None = None
    divisor: float = 1.0
    name: str = "weight"

    def read_eligible(self) -> Array | None:
        """Returns which scores are eligible, asked anew where it is a function; None for all."""
        return self.eligible() if callable(self.eligible) else self.eligible

    def reading(self, real: Any) -> "Reading":
        """Opens the tensor, to read its scores as `real` numbers."""
        source = self.scores.source() if isinstance(self.scores, LazyScores) else self.scores
        eligible = self.read_eligible()
        return Reading(
            source.reshape(-1),
            self.scores.function if isinstance(self.scores, LazyScores) else None,
            None if eligible is None else eligible.reshape(-1),
            None if self.sizes is None else self.sizes.reshape(-1),
            self.divisor,
            real,
            self.name,
        )

    def tier(self, protected: bool) -> "ScoredTensor":
        """Returns the tensor with only its protected scores eligible, or only the others."""
        if self.protected is None:
            none = np.zeros(self.scores.shape, bool)
            return dataclasses.replace(self, eligible=none) if protected else self
        eligible = self.read_eligible()
        here = self.protected if protected else ~self.protected
        both = here if eligible is None else here & eligible
        return dataclasses.replace(self, eligible=both, protected=None)


@dataclasses.dataclass(frozen=True, eq=False)
class Count:
    """The result of a pass over a tensor: weights below a bracket, up to its end, and inside it.

    `found` holds the scores inside, in flat order; `None` where there were too many.
    """

    under: int
    upto: int
    found: Array | None
    sizes: Array | None


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """A tensor opened for reading: flat arrays, and the scores of a piece."""

    source: Array
    function: Callable[[Array], Array] | None
    eligible: Array | None
    sizes: Array | None
    divisor: float
    real: Any
    name: str

    @property
    def size(self) -> int:
        """How many scores there are."""
        return self.source.size

    def total(self) -> int:
        """Returns how many weights are eligible."""
        if self.sizes is not None:
            return int((self.sizes if self.eligible is None else self.sizes[self.eligible]).sum())
        return self.size if self.eligible is None else int(np.count_nonzero(self.eligible))

    def scores(self, place: Any) -> Array:
        """Returns the scores at a slice or an array of indices."""
        values = self.source[place]
        if self.function is not None:
            values = self.function(values)
        values = values.astype(self.real, copy=False)
        if self.divisor != 1:
            with np.errstate(over="ignore"):  # a divisor next to zero stands for "never"
                values = values / self.divisor
        return values

    def pieces(self) -> Iterator[tuple[slice, Array, Array | None]]:
        """Yields each piece, its scores, and which of them are eligible."""
        for start in range(0, self.size, PIECE):
            piece = slice(start, start + PIECE)
            scores = self.scores(piece)
            here = None if self.eligible is None else self.eligible[piece]
            if np.isnan(scores.min()) and np.isnan(scores if here is None else scores[here]).any():
                raise ValueError(
                    f"The scores of {self.name} hold NaN; expected numbers that can be ranked. A "
                    "weight that is NaN itself means that training has diverged: restore the model "
                    "from before, or find the weight with numpy.isnan."
                )
            yield piece, scores, here

    def count(self, a: Any, b: Any, limit: float) -> Count:
        """Counts the eligible weights under `a` and up to `b`; collects at most `limit` scores."""
        under, upto, found, sizes, collected = 0, 0, [], [], 0
        for piece, scores, here in self.pieces():
            low, inside = scores < a, scores <= b
            inside &= ~low
            if here is not None:
                low &= here
                inside &= here
            if self.sizes is None:
                low_count, inside_count = np.count_nonzero(low), np.count_nonzero(inside)
            else:
                low_count, inside_count = (self.sizes[piece][each].sum() for each in (low, inside))
            under, upto = under + int(low_count), upto + int(low_count + inside_count)
            if collected <= limit:
                found.append(scores[inside])
                sizes.append(None if self.sizes is None else self.sizes[piece][inside])
                collected += found[-1].size
        if collected > limit:
            return Count(under, upto, None, None)
        weights = None if self.sizes is None else np.concatenate([np.zeros(0, np.int64), *sizes])
        return Count(under, upto, np.concatenate([np.zeros(0, self.real), *found]), weights)
