"""What every criterion offers to `prune`."""

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from kprune import registration, scores, weights


class Criterion(registration.Member, abc.ABC):
    """How a weight is scored, and what happens to the survivors.

    Subclasses are frozen dataclasses. They implement `score`, and fill the other three where the
    formula needs data (`observe`), a large step in several parts (`stages`), or moves the
    survivors (`compensate`). What `observe` returns is handed to the others and then forgotten,
    so a criterion itself never holds state.
    """

    @abc.abstractmethod
    def score(self, weight: weights.Weight, evidence: Any) -> scores.Array | scores.Lazy:
        """Returns the scores of a weight, in its shape; a higher one is kept."""

    def observe(self, model: keras.Model, members: Sequence[weights.Weight]) -> Any:
        """Looks at the data, before a stage; returns the evidence for the scores."""
        return None

    def stages(self, present: float, sparsity: float) -> Iterable[float]:
        """Splits the way from the present sparsity into those to prune to, one after another."""
        return (sparsity,)

    def compensate(
        self, members: Sequence[weights.Weight], keep: Sequence[scores.Array], evidence: Any
    ) -> Mapping[weights.Weight, Any] | None:
        """Returns new values for the weights whose survivors move, given the masks to come."""
        return None
