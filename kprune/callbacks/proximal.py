"""Shrinks weights to zero during `fit` by reweighted proximal steps."""

from typing import Any

import numpy as np

from kprune import schedules
from kprune._keras import fits
from kprune._masking.weight import Weight
from kprune._support import signatures, validation
from kprune.callbacks import _clock, _scheduled
from kprune.training import proximal

__all__ = ["ReweightedProximal"]


class ReweightedProximal(_scheduled.Scheduled[schedules.Interval]):
    """Shrinks weights by proximal steps of reweighted l1, then masks those that are zero.

    Use it for pre-trained transformers, and with adaptive optimizers: an l1 term in the loss would
    enter Adam's moments, and would shrink large weights as much as small ones. Here the optimizer
    gets only the gradients of the loss. After each of its updates, in the same compiled step,

    `w <- sign(a) max(|a| - eta * strength * alpha, 0)`, `alpha = 1 / (|w| + epsilon)`

    with `a` the updated weight, `eta` the current learning rate, and `alpha` estimated again every
    `reweighting` steps. No sparsity is given; the present one is logged. At `end_step` the weights
    that are zero are masked, and the rest of the fit trains the survivors. For an exact sparsity
    call `kprune.prune(model, sparsity)` after that, and train again.

    Args:
        strength: the strength of the regularizer, above 0; a weight of size w shrinks by
            `eta * strength / w` a step. `kprune.training.proximal_strength` returns a strength for
            a given sparsity.
        epsilon: the size below which all weights shrink by the same amount, above 0.
        reweighting: steps from one estimate of alpha to the next; a float is a fraction of the fit.
        begin_step: the step at which shrinking begins; a float is a fraction of the fit.
        end_step: the step at which it ends and the zeros are masked, in the same terms.
        per_class: log the sparsity of each class too, as `sparsity/<class>`.

    Raises:
        ValueError: a strength or epsilon that is not above zero; at the start of training, if the
            model is not wrapped.

    Example:
        >>> rpp = kprune.callbacks.ReweightedProximal(strength=0.1, end_step=0.6)
        >>> history = model.fit(x, y, epochs=5, callbacks=[rpp])

    Reference:
        Guo et al., Reweighted Proximal Pruning for Large-Scale Language Representation, 2019.
    """

    @signatures.explained
    def __init__(
        self,
        strength: float,
        epsilon: float = 1e-3,
        reweighting: schedules.Step = 100,
        begin_step: schedules.Step = 0.0,
        end_step: schedules.Step = 0.5,
        per_class: bool = True,
    ) -> None:
        validation.require_number(strength, "strength", write=0.1, above=True)
        validation.require_number(epsilon, "epsilon", write=1e-3, above=True)
        super().__init__(schedules.Interval(begin_step, end_step, reweighting), per_class)
        self.strength = strength
        self.epsilon = epsilon
        self._is_running = False
        self._last_step: int | None = None
        self._loan = fits.Loan()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Raises if the model is not wrapped; removes what an earlier fit left."""
        super().on_train_begin(logs)
        self._loan.close()
        proximal.discard(self.model)
        proximal.prepare(self.model)  # before a callback that restores a stopped training
        self._is_running, self._last_step = False, None

    def begin(self, schedule: schedules.Interval, clock: _clock.Clock) -> None:
        """Does nothing more if a fit is resumed after `end_step`."""
        if clock.read() >= schedule.end_step:
            self._last_step = int(schedule.end_step)

    def act(self, schedule: schedules.Interval, step: int) -> bool:
        """Begins to shrink, reweights, or ends and masks the zeros."""
        due = schedule.grid(step)
        if due is None or due == self._last_step:
            return False
        self._last_step = due
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
        """Logs the present sparsity of all weights and of each class."""
        self._count()
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Masks the zeros if the fit ended before `end_step`."""
        if self._is_running:
            self._stop()
        proximal.discard(self.model)
        super().on_train_end(logs)

    def _stop(self) -> None:
        self._loan.close()
        self._is_running = False
        proximal.discard(self.model)
        proximal.freeze(self.model)

    def _count_kept(self, weight: Weight) -> int:
        """Counts weights that are not zero, masked or not."""
        return int(np.count_nonzero(weight.values()))
