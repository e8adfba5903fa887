"""What every criterion offers to `prune`."""

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from kprune import calibration
from kprune._masking.weight import Weight
from kprune._selection import scores
from kprune._support import registration
from kprune._support.typing import Array
from kprune.criteria import _accumulation


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """What a cut is going to do, and what it has done by now.

    Args:
        sparsity: what the weights are going to be pruned to.
        before: weights that this cut has pruned already, one group after another, with the values
            that they had before it.
    """

    sparsity: float
    before: Mapping[Weight, Array] = dataclasses.field(default_factory=dict)


class Criterion(registration.Member, abc.ABC):
    """How a weight is scored, and what happens to the survivors.

    Subclasses are frozen dataclasses. They implement `score`, and fill the others where the
    formula needs data (`observe`), a large step in several parts (`stages`), one layer after
    another (`groups`), or moves the survivors (`compensate`). What `observe` returns is handed to
    the others and then forgotten, so a criterion itself never holds state. Where the formula
    gathers something over the updates of a training, `accumulation` says what.
    """

    @abc.abstractmethod
    def score(self, weight: Weight, statistics: Any) -> Array | scores.LazyScores:
        """Returns the scores of a weight, in its shape; a higher one is kept."""

    def observe(self, model: keras.Model, weights: Sequence[Weight], stage: Stage) -> Any:
        """Looks at the data before a cut; returns the statistics for the scores."""
        return None

    @property
    def accumulation(self) -> _accumulation.Accumulation | None:
        """What every update of a training adds to the statistics; `None` where nothing does."""
        return None

    def stages(self, present: float, sparsity: float) -> Iterable[float]:
        """Splits the way from the present sparsity into those to prune to, one after another."""
        return (sparsity,)

    def groups(self, model: keras.Model, weights: Sequence[Weight]) -> Sequence[Sequence[Weight]]:
        """Says which weights are observed and cut together, and which after them."""
        return (weights,)

    def compensate(
        self, weights: Sequence[Weight], keep: Sequence[Array], statistics: Any
    ) -> Mapping[Weight, Any] | None:
        """Returns new values for the weights whose survivors move, given the masks to come."""
        return None


@dataclasses.dataclass(frozen=True)
class Calibrated(Criterion):
    """A criterion that looks at data.

    Args:
        data: see `kprune.calibration`. It is left out of the config.
        batch_size: samples in a batch where `data` is whole arrays.
        recomputations: in how many parts a cut is made, each with the data looked at anew; the same
            fraction of the survivors goes in each.
    """

    data: Any = dataclasses.field(
        default=None, repr=False, compare=False, metadata={"config": False}
    )
    batch_size: int = dataclasses.field(default=128, kw_only=True)
    recomputations: int = dataclasses.field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("batch_size", "recomputations"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"{name}={value!r}; expected a whole number, at least 1. Write {name}=1."
                )

    def stages(self, present: float, sparsity: float) -> Iterable[float]:
        """Lets the same fraction of the survivors go in each part."""
        kept, left = 1 - present, 1 - sparsity
        parts = range(1, self.recomputations)
        between = [1 - kept * (left / kept) ** (k / self.recomputations) for k in parts if kept]
        return (*between, sparsity)

    def calibration(self, model: keras.Model, labelled: bool) -> calibration.Calibration:
        """Returns the data, ready to be read for a model."""
        caller = type(self).__name__
        return calibration.Calibration(self.data, model, caller, labelled, self.batch_size)
