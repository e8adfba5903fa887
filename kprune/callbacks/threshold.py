"""Threshold pruning during `fit`."""

from collections.abc import Mapping
from typing import Any

from kprune import pruning, schedules, thresholds
from kprune._masking import masked_weights
from kprune.callbacks import _scheduled


class ThresholdPruning(_scheduled.Scheduled[schedules.Interval]):
    """Prunes what is below a threshold, again and again while the survivors are retrained.

    Use it where the weights are to say how sparse each layer becomes: no sparsity is given, it
    emerges, and goes into the logs. At each step of the grid `|w| < threshold_c` goes, with
    `threshold_c = quality * sigma_c`. One threshold serves every step, or, with `fixed=False`,
    each step takes that of the survivors, whose spread grows as the small ones go.

    Args:
        quality: the parameter of the paper; or a mapping from class to threshold, as
            `kprune.thresholds.of` makes it, which a resumed training needs to go on with the same.
        begin_step: first step; a float is a fraction of the fit.
        end_step: last step, in the same terms. The default leaves a quarter to fine-tuning.
        frequency: steps from one to the next.
        fixed: whether the thresholds of the first step serve all.
        per_class: log the sparsity of each class too, as `sparsity/<class>`.

    Raises:
        ValueError: at the begin of training, where the model is not wrapped; at a step, where
            nothing would be left of a class.

    Example:
        >>> pruning = kprune.callbacks.ThresholdPruning(quality=0.5, frequency=10)
        >>> history = model.fit(x, y, epochs=5, callbacks=[pruning])

    Reference:
        Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
    """

    def __init__(
        self,
        quality: float | Mapping[str, float],
        begin_step: schedules.Step = 0.0,
        end_step: schedules.Step = 0.75,
        frequency: schedules.Step = 100,
        fixed: bool = True,
        per_class: bool = True,
    ) -> None:
        super().__init__(schedules.Interval(begin_step, end_step, frequency), per_class)
        self.quality = quality
        self.fixed = fixed
        self._thresholds: Mapping[str, float] | None = None
        self._grid: int | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the model; forgets the steps of an earlier fit."""
        super().on_train_begin(logs)
        self._thresholds, self._grid = None, None

    def act(self, schedule: schedules.Interval, step: int) -> bool:
        """Prunes what is below its threshold."""
        grid = schedule.grid(step)
        if grid is None or grid == self._grid:
            return False
        self._grid = grid
        if isinstance(self.quality, Mapping):
            self._thresholds = self.quality
        elif self._thresholds is None or not self.fixed:
            self._thresholds = thresholds.of(self.model, self.quality)
        pruning.prune(self.model, thresholds.targets(self.model, self._thresholds))
        return True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Puts the weights on their masks once more: averages of weights know none."""
        masked_weights.project(self.model)
