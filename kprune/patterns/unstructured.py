"""Prunes single weights."""

import dataclasses

from kprune._selection import scores
from kprune._support import registration
from kprune._support.typing import Array
from kprune.patterns.matrix_view import MatrixView
from kprune.patterns.pattern import Pattern

__all__ = ["Unstructured"]


@registration.register
@dataclasses.dataclass(frozen=True)
class Unstructured(Pattern):
    """Prunes every weight by itself.

    Use it for the best accuracy at a given sparsity, and for files that are small after
    compression. Most runtimes do not become faster by it.

    Example:
        >>> kprune.wrap(model, pattern="unstructured")
    """

    def piece_scores(self, scored: scores.ScoredTensor, view: MatrixView) -> scores.ScoredTensor:
        """Returns the scores as they are, in the kernel's own order."""
        return scored

    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Returns the mask as it is."""
        return pieces
