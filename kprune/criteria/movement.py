"""Movement: what training drives towards zero goes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kprune._masking.weight import Weight
from kprune._support import registration
from kprune._support.typing import Array
from kprune.criteria import _accumulation, criterion


@registration.register
@dataclasses.dataclass(frozen=True)
class Movement(criterion.Criterion):
    """How far training moves a weight away from zero: `s = -sum_t w_t * dL/dw_t`.

    Use it for fine-tuning a pre-trained model: its large weights tell what the old task needed,
    the way they move tells what the new one needs. The scores gather during `fit`, with the
    `Pruning` callback, or within `kprune.training.accumulating`, at the cost of a product and a
    sum for each weight and update. The schedule begins after the first updates; some hundred say
    more. It wants a long training: it drops large weights that a short one cannot make up for, and there
    `criterion="saliency"` is the safer choice (docs/results.md). A later fit goes on from what an
    earlier one gathered, until `kprune.strip`.

    Args:
        memory: the part of the scores that outlives a cut; 1 for the paper's sum from the begin
            of training, 0 for what was seen since the last cut.

    Raises:
        ValueError: at a cut before the first update; a memory outside [0, 1].

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
        if not 0 <= self.memory <= 1:
            raise ValueError(f"memory={self.memory}; expected a part, in [0, 1]. Write memory=1.0.")

    @property
    def accumulation(self) -> _accumulation.Accumulation:
        """The movement of each update, in units of the learning rate."""
        return _accumulation.Accumulation("movement", lambda w, g: -w * g, self.memory)

    def observe(
        self, model: keras.Model, weights: Sequence[Weight], stage: criterion.Stage
    ) -> Mapping[Weight, Array]:
        """Reads what was gathered."""
        return self.accumulation.read_scores(model, weights)

    def score(self, weight: Weight, statistics: Any) -> Array:
        """Returns the sum; it may be negative."""
        found: Array = statistics[weight]
        return found
