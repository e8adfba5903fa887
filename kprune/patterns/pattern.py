"""What every pattern has: scores of its pieces, and the mask of weights for a mask of pieces."""

import abc
from typing import ClassVar

from kprune._selection import scores
from kprune._support import registration
from kprune._support.typing import Array
from kprune.patterns.matrix_view import MatrixView

__all__ = ["Pattern"]


class Pattern(registration.Member, abc.ABC):
    """Says which weights are pruned together. Subclasses are frozen dataclasses.

    They implement `piece_scores` and `weight_mask`.

    Attributes:
        covers_inputs: whether a piece covers all inputs of an output, so that the scores of
            different outputs must be comparable.
        n_of_m: `(n, m)` if at most n of m consecutive inputs may stay, else `None`.
    """

    covers_inputs: ClassVar[bool] = False

    @property
    def n_of_m(self) -> tuple[int, int] | None:
        """How many of how many consecutive inputs may stay; `None` if that is not limited."""
        return None

    def block_shape(self, view: MatrixView) -> tuple[int, int] | None:
        """Rows and columns of the matrix that are pruned as one; `None` for single weights."""
        return None

    @abc.abstractmethod
    def piece_scores(self, scored: scores.ScoredTensor, view: MatrixView) -> scores.ScoredTensor:
        """Turns the scores of the weights into scores of the pieces."""

    @abc.abstractmethod
    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Turns a mask of pieces into a mask of weights, in the kernel's shape."""
