"""Defines what every criterion offers to `prune`."""

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kprune import calibration
from kprune._masking.weight import Weight
from kprune._selection import scores
from kprune._support import registration, signatures, validation
from kprune._support.typing import Array
from kprune.criteria import _accumulation

__all__ = ["Calibrated", "Criterion", "Stage"]


@signatures.explain_constructor
@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """Describes the mask update for which a criterion is asked.

    Args:
        sparsity: the sparsity to which the weights will be pruned.
        before: weights that this mask update has pruned already, one group after another, with
            their earlier values.
    """

    sparsity: float
    before: Mapping[Weight, Array] = dataclasses.field(default_factory=dict)


class Criterion(registration.Member, abc.ABC):
    """Scores weights, and may move the survivors.

    Subclasses are frozen dataclasses. They implement `score`, and override the others if the
    formula needs data (`observe`), prunes in several steps (`stages`), prunes one layer after
    another (`groups`), or moves the survivors (`compensate`). The result of `observe` is passed to
    the others and is dropped after the mask update, so a criterion itself has no state. If the
    formula accumulates scores over the updates of a training, `accumulation` describes them.
    """

    @abc.abstractmethod
    def score(self, weight: Weight, statistics: Any) -> Array | scores.LazyScores:
        """Returns the scores of a weight, in its shape; higher ones are kept."""

    def observe(self, model: keras.Model, weights: Sequence[Weight], stage: Stage) -> Any:
        """Evaluates the data before a mask update; returns the statistics for the scores."""
        return None

    @property
    def accumulation(self) -> _accumulation.Accumulation | None:
        """What every update of a training adds to the scores; `None` if nothing is added."""
        return None

    def stages(self, present: float, sparsity: float) -> Iterable[float]:
        """Returns the sparsities to which to prune, one after another, the given one last."""
        return (sparsity,)

    def groups(self, model: keras.Model, weights: Sequence[Weight]) -> Sequence[Sequence[Weight]]:
        """Returns the weights in groups that are observed and pruned one after another."""
        return (weights,)

    def compensate(
        self, weights: Sequence[Weight], keep: Sequence[Array], statistics: Any
    ) -> Mapping[Weight, Any] | None:
        """Returns new values for the weights whose survivors move, given their new masks."""
        return None


@dataclasses.dataclass(frozen=True)
class Calibrated(Criterion):
    """Scores weights on data.

    Args:
        data: see `kprune.calibration`. It is left out of the config.
        batch_size: samples in a batch if `data` is whole arrays.
        recomputations: the number of steps of a mask update. Each evaluates the data again and
            prunes the same fraction of the survivors.
    """

    data: calibration.Data | None = dataclasses.field(
        default=None, repr=False, compare=False, metadata={"config": False}
    )
    batch_size: int = dataclasses.field(default=128, kw_only=True)
    recomputations: int = dataclasses.field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        self._validate_one_argument_has_data()
        validation.require_whole(self.batch_size, "batch_size", write=128)
        validation.require_whole(self.recomputations, "recomputations")

    def _validate_one_argument_has_data(self) -> None:
        """Raises TypeError for `OBS(x, y)`, as one writes `fit(x, y)`."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "data" and hasattr(value, "shape") and np.ndim(value):
                name = type(self).__name__
                raise TypeError(
                    f"{name} came with {validation.describe(value)} as {field.name}; expected all "
                    f"data in one argument. Write {name}((x, y))."
                )

    def stages(self, present: float, sparsity: float) -> Iterable[float]:
        """Returns sparsities each of which prunes the same fraction of the survivors."""
        kept, left = 1 - present, 1 - sparsity
        steps = range(1, self.recomputations)
        between = [1 - kept * (left / kept) ** (k / self.recomputations) for k in steps if kept]
        return (*between, sparsity)

    def calibration(self, model: keras.Model, labelled: bool) -> calibration.Calibration:
        """Returns the data in batches for a model.

        Args:
            model: the model that takes the data.
            labelled: whether labels are needed.
        """
        caller = type(self).__name__
        return calibration.Calibration(self.data, model, caller, labelled, self.batch_size)
