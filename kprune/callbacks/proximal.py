"""Reweighted proximal pruning during `fit`."""

from typing import Any

import numpy as np

from kprune import schedules
from kprune._keras import fits
from kprune._masking import masked_weights
from kprune._masking.weight import Weight
from kprune.callbacks import _scheduled
from kprune.training import proximal


class ReweightedProximal(_scheduled.Scheduled[schedules.Interval]):
    """Reweighted l1 by proximal steps, until the zeros are there; then they are kept.

    Use it for pre-trained transformers, and with adaptive optimizers: an l1 term in the loss would
    reach Adam's moments, and shrinks large weights as much as small ones. Here the optimizer
    sees the loss alone. After each of its updates, in the same compiled step,

    `w <- sign(a) max(|a| - eta * strength * alpha, 0)`, `alpha = 1 / (|w| + epsilon)`

    with `a` the updated weight, `eta` the current learning rate, and `alpha` estimated anew every
    `reweighting` steps. The sparsity emerges and goes into the logs. At `end_step` what is zero
    becomes the mask, and the rest of the fit trains the survivors. For an exact sparsity write
    `kprune.prune(model, sparsity)` then, and train on.

    Args:
        strength: of the regulariser; a weight of size w loses `eta * strength / w` a step, and
            goes where that outweighs its gradient for long. `kprune.training.proximal_strength`
            returns one for a wanted sparsity.
        epsilon: below this size weights are shrunk alike.
        reweighting: steps from one estimate of alpha to the next; a float is a fraction of the fit.
        begin_step: when shrinking begins; a float is a fraction of the fit.
        end_step: when it ends and the zeros are kept.
        per_class: log the sparsity of each class too, as `sparsity/<class>`.

    Raises:
        ValueError: a strength or epsilon that is not above zero; at the begin of training, where
            the model is not wrapped.

    Example:
        >>> rpp = kprune.callbacks.ReweightedProximal(strength=0.1, end_step=0.6)
        >>> history = model.fit(x, y, epochs=5, callbacks=[rpp])

    Reference:
        Guo et al., Reweighted Proximal Pruning for Large-Scale Language Representation, 2019.
    """

    def __init__(
        self,
        strength: float,
        epsilon: float = 1e-3,
        reweighting: schedules.Step = 100,
        begin_step: schedules.Step = 0.0,
        end_step: schedules.Step = 0.5,
        per_class: bool = True,
    ) -> None:
        for name, value in (("strength", strength), ("epsilon", epsilon)):
            if not value > 0:
                raise ValueError(f"{name}={value}; expected more than 0. Write {name}=1e-3.")
        super().__init__(schedules.Interval(begin_step, end_step, reweighting), per_class)
        self.strength = strength
        self.epsilon = epsilon
        self._is_running = False
        self._last: int | None = None
        self._loan = fits.Loan()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the model; forgets what an earlier fit left."""
        super().on_train_begin(logs)
        self._loan.close()
        proximal.discard(self.model)
        proximal.prepare(self.model)  # before a callback that restores a stopped training
        self._is_running, self._last = False, None

    def begin(self, schedule: schedules.Interval, epoch: int) -> None:
        """Where a fit is resumed after the end, nothing is left to do."""
        if self._iterations() >= schedule.end_step:
            self._last = int(schedule.end_step)

    def act(self, schedule: schedules.Interval, step: int) -> bool:
        """Begins to shrink, reweights, or ends and keeps the zeros."""
        grid = schedule.grid(step)
        if grid is None or grid == self._last:
            return False
        self._last = grid
        if step >= schedule.end_step:
            self._stop()
            return True
        restored = not self._is_running and proximal.is_weighted(self.model)
        if not restored:
            proximal.reweight(self.model, self.epsilon)
        if not self._is_running:
            optimizer = self.model.optimizer
            self._loan.enter(
                self.model, proximal.shrink_after_updates(self.model, optimizer, self.strength)
            )
            self._is_running = True
        return True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the sparsity as it is now, of all and by class, into the logs."""
        self._count()
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Keeps the zeros, where the fit ended before `end_step`."""
        if self._is_running:
            self._stop()
        proximal.discard(self.model)
        masked_weights.project(self.model)

    def _stop(self) -> None:
        self._loan.close()
        self._is_running = False
        proximal.discard(self.model)
        proximal.freeze(self.model)

    def _kept(self, weight: Weight) -> int:
        """Zeros count before they are kept, too."""
        return int(np.count_nonzero(weight.values()))
