"""Prunes so that at most n of m consecutive weights stay."""

import dataclasses
import math

import numpy as np

from kprune._selection import scores
from kprune._support import registration, validation
from kprune._support.typing import Array
from kprune.patterns.matrix_view import MatrixView
from kprune.patterns.pattern import Pattern

__all__ = ["NM"]


@registration.register
@dataclasses.dataclass(frozen=True)
class NM(Pattern):
    """Keeps at most `n` weights of every `m` along the input axis.

    Use it for hardware with 2:4 sparsity, or to distribute the zeros evenly. The pattern follows a
    schedule: the weights that are not among the best `n` of their group are pruned first, in the
    order of their scores over all groups, and every group is `n:m` once the sparsity reaches
    1 - n/m. Beyond that the survivors are pruned by their scores, and the groups stay within
    `n:m`. A last group of r < m weights keeps its best `ceil(n * r / m)`.

    Args:
        n: how many weights may stay in a group.
        m: how many weights a group has.

    Raises:
        ValueError: not 0 < n < m.

    Example:
        >>> kprune.wrap(model, pattern=kprune.patterns.NM(2, 4))        # or pattern="2:4"

    Reference:
        Mishra et al., Accelerating Sparse Deep Neural Networks, 2021.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        whole = validation.is_whole(self.n) and validation.is_whole(self.m)
        if not whole or not 0 < self.n < self.m:
            raise ValueError(
                f"NM(n={validation.describe(self.n)}, m={validation.describe(self.m)}); expected "
                "whole numbers with 0 < n < m, n weights kept of every m. Write NM(2, 4)."
            )

    @property
    def n_of_m(self) -> tuple[int, int]:
        """The arguments `(n, m)`."""
        return self.n, self.m

    def piece_scores(self, scored: scores.ScoredTensor, view: MatrixView) -> scores.ScoredTensor:
        """Protects the best `n` of each group; every weight keeps its own score."""
        given = np.asarray(scored.scores)
        matrix = view.matrix(given).astype(np.float64)  # [input, output]
        if (eligible := scored.read_eligible()) is not None:
            matrix[~view.matrix(eligible)] = -np.inf
        rows, columns = matrix.shape
        padded = np.full((-(-rows // self.m) * self.m, columns), -np.inf)
        padded[:rows] = matrix
        groups = padded.reshape(-1, self.m, columns)  # [group, m, output]
        order = np.argsort(-groups, axis=1, kind="stable")  # of ties the lowest index first
        protected = np.zeros(groups.shape, bool)
        np.put_along_axis(protected, order[:, : self.n], True, axis=1)
        if rest := rows % self.m:
            protected[-1] = False
            best = order[-1, : math.ceil(self.n * rest / self.m)]
            np.put_along_axis(protected[-1], best, True, axis=0)
        protected = view.kernel(protected.reshape(-1, columns)[:rows])
        return dataclasses.replace(scored, scores=given, protected=protected)

    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Returns the mask as it is."""
        return pieces
