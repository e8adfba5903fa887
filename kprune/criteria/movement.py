"""Scores weights by how far training moves them away from zero."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kprune._masking.weight import Weight
from kprune._support import registration, validation
from kprune._support.typing import Array
from kprune.criteria import _accumulation, criterion

__all__ = ["Movement"]


@registration.register
@dataclasses.dataclass(frozen=True)
class Movement(criterion.Criterion):
    """Scores weights by their movement away from zero: `s = -sum_t w_t * dL/dw_t`.

    Use it for fine-tuning a pre-trained model: the size of its weights shows what the old task
    needed, their movement shows what the new one needs. The scores accumulate during `fit` with
    the `Pruning` callback, or within `kprune.training.accumulating`, at the cost of a product and
    a sum for each weight and update. The schedule must begin after the first updates; some
    hundred updates give better scores. It needs a long training: it prunes large weights, which a
    short one cannot compensate, and there `criterion="saliency"` is safer (docs/results.md). A
    later fit continues with the scores of an earlier one, until `kprune.strip`.

    Args:
        memory: the factor, in [0, 1], by which a mask update multiplies the scores; 1 for the
            paper's sum from the start of training, 0 for the updates since the last mask update.

    Raises:
        ValueError: a memory outside [0, 1]; at a mask update before the first update.

    Example:
        >>> schedule = kprune.schedules.PolynomialDecay(0.0, 0.9, begin_step=0.1, end_step=0.7)
        >>> pruning = kprune.callbacks.Pruning(schedule, criterion="movement")
        >>> history = model.fit(x, y, epochs=2, callbacks=[pruning])

    Reference:
        Sanh, Wolf and Rush, Movement Pruning: Adaptive Sparsity by Fine-Tuning, 2020. There a
        masked weight keeps its value and may return; here what is pruned stays pruned.
    """

    memory: float = 1.0

    def __post_init__(self) -> None:
        validation.require_number(self.memory, "memory", write=1.0, maximum=1)

    @property
    def accumulation(self) -> _accumulation.Accumulation:
        """What each update adds: the movement, in units of the learning rate."""
        return _accumulation.Accumulation("movement", lambda w, g: -w * g, self.memory)

    def observe(
        self, model: keras.Model, weights: Sequence[Weight], stage: criterion.Stage
    ) -> Mapping[Weight, Array]:
        """Reads the accumulated scores."""
        return self.accumulation.read_scores(model, weights)

    def score(self, weight: Weight, statistics: Any) -> Array:
        """Returns the sum, which may be negative."""
        accumulated: Array = statistics[weight]
        return accumulated
