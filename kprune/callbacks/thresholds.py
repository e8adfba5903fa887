"""Prunes below thresholds during `fit`."""

from collections.abc import Mapping
from typing import Any

from kprune import pruning, schedules, thresholds
from kprune._support import signatures, validation
from kprune.callbacks import _scheduled

__all__ = ["ThresholdPruning"]


class ThresholdPruning(_scheduled.Scheduled[schedules.Interval]):
    """Prunes weights below a threshold, repeatedly while the survivors are retrained.

    Use it if the sparsity of each layer should follow from its weights: no sparsity is given, the
    present one is logged. At each step of the grid weights are pruned if

    `|w| < threshold_c`, `threshold_c = quality * sigma_c`

    with `sigma_c` the standard deviation of the class. The thresholds of the first step are used at
    every step, or, with `fixed=False`, they are computed again from the survivors at each step.

    Args:
        quality: the factor of the standard deviation, above 0; or a mapping from class to
            threshold, as `kprune.thresholds.of` returns it, so that a resumed training has the same
            thresholds.
        begin_step: first step; a float is a fraction of the fit.
        end_step: last step, in the same terms. The default leaves a quarter for fine-tuning.
        frequency: steps from one mask update to the next, in the same terms.
        fixed: whether the thresholds of the first step are used at every step.
        per_class: log the sparsity of each class too, as `sparsity/<class>`.

    Raises:
        ValueError: a quality that is not above zero; at the start of training, if the model is not
            wrapped; at a step, if all weights of a class would be pruned.

    Example:
        >>> pruning = kprune.callbacks.ThresholdPruning(quality=0.5, frequency=10)
        >>> history = model.fit(x, y, epochs=5, callbacks=[pruning])

    Reference:
        Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
    """

    resumed = ("_thresholds", "_last_step")

    @signatures.explained
    def __init__(
        self,
        quality: float | Mapping[str, float],
        begin_step: schedules.Step = 0.0,
        end_step: schedules.Step = 0.75,
        frequency: schedules.Step = 0.01,
        fixed: bool = True,
        per_class: bool = True,
    ) -> None:
        super().__init__(schedules.Interval(begin_step, end_step, frequency), per_class)
        if isinstance(quality, Mapping):
            thresholds.validate(quality)
        else:
            validation.require_number(quality, "quality", write=1.0, above=True)
        validation.require_flag(fixed, "fixed")
        self.quality = quality
        self.fixed = fixed
        self._thresholds: Mapping[str, float] | None = None
        self._last_step: int | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Raises if the model is not wrapped; forgets the steps of an earlier fit."""
        super().on_train_begin(logs)
        self._thresholds, self._last_step = None, None

    def act(self, schedule: schedules.Interval, step: int) -> bool:
        """Prunes weights below their threshold."""
        due = schedule.grid(step)
        if due is None or due == self._last_step:
            return False
        self._last_step = due
        if isinstance(self.quality, Mapping):
            self._thresholds = self.quality
        elif self._thresholds is None or not self.fixed:
            self._thresholds = thresholds.of(self.model, self.quality)
        pruning.prune(self.model, thresholds.targets(self.model, self._thresholds))
        return True
