"""Counts the steps of a training, across restarts too."""

import weakref
from collections.abc import Mapping
from typing import Any

import keras

from kprune._keras import optimizers, state

_SAVED = "saved_step"  # of the training that a loaded file was written in
# A weak reference to the optimizer, which Keras would save with the record, and the steps of the
# training before that optimizer was made.
_OFFSET = "step_offset"


class Clock:
    """Says which step of a training a fit has reached.

    A step is an update of the model's optimizer. A training that was stopped may go on with a new
    optimizer, which counts from zero: then the steps before it are those that the loaded file
    notes, or those of the epochs that `initial_epoch` leaves out. A model with several optimizers
    of its own, or with none, is counted in batches.

    Args:
        model: the model that is fitted.
        epoch: the epoch with which the fit begins.
        params: of the callback: `epochs`, and `steps` if it is known how many batches an epoch has.
    """

    def __init__(self, model: keras.Model, epoch: int, params: Mapping[str, Any]) -> None:
        self.model, self.epoch = model, epoch
        self.counts_batches = optimizers.updates_unseen(model)
        self._batches = 0
        per_update = 1
        if not self.counts_batches:
            per_update = getattr(model.optimizer, "gradient_accumulation_steps", None) or 1
        self._patience = per_update
        if hasattr(getattr(model, "optimizer", None), "inner_optimizer"):
            self._patience = 100  # loss scaling skips updates until its scale fits
        batches = params.get("steps")
        done = None if batches is None else epoch * batches // per_update
        self.steps = None if batches is None else params["epochs"] * batches // per_update
        self._offset = self._find_offset(epoch, done)
        self._first = self.read()
        # The step with which epoch 0 of this fit began, in this process or in an earlier one.
        self.origin = self._first - (done or 0)

    @property
    def last(self) -> int | None:
        """The step at which the fit ends; `None` if its length is not known."""
        return None if self.steps is None else self.origin + self.steps

    def count(self, batches: int) -> None:
        """Notes how many batches of this fit are done."""
        self._batches = batches

    def read(self) -> int:
        """Returns the present step."""
        if self.counts_batches:
            return self._offset + self._batches
        if hasattr(self.model, "jax_state_sync"):  # on JAX a running step has the variables
            self.model.jax_state_sync()
        return self._offset + optimizers.count_steps(self.model.optimizer)

    def check(self) -> None:
        """Raises if batches were trained, and the model's optimizer has made no update.

        Raises:
            ValueError: so it is.
        """
        if self.counts_batches or self._batches < self._patience:
            return
        if self.read() == self._first:
            raise ValueError(
                f"{self._batches} batches were trained and {self.model.name}.optimizer has made no "
                "update, so that a schedule, which counts its updates, never moves. Compile the "
                "model with the optimizer that trains it, keep that optimizer as an attribute of "
                "the model (model.own_optimizer = optimizer), or write kprune.step(model, "
                "schedule, optimizer.iterations) in the training step's loop."
            )

    def _find_offset(self, epoch: int, done: int | None) -> int:
        saved = state.get(self.model, _SAVED)
        optimizer, offset = _get_offset(self.model)
        state.forget(self.model, _SAVED, _OFFSET)
        if epoch == 0:  # a new training
            return 0
        if self.counts_batches:
            return done or saved or 0
        if optimizer is not self.model.optimizer:
            is_new = optimizers.count_steps(self.model.optimizer) == 0
            offset = (done or 0) if saved is None else saved
            offset = offset if is_new else 0
        state.put(self.model, _OFFSET, (weakref.ref(self.model.optimizer), offset))
        return int(offset)


def _get_offset(model: keras.Model) -> tuple[Any, int]:
    reference, offset = state.get(model, _OFFSET, (lambda: None, 0))
    return reference(), offset


def _read_step(model: Any) -> int | None:
    """Returns the step of a training that is saved with its model; `None` before the first."""
    if not isinstance(model, keras.Model) or getattr(model, "optimizer", None) is None:
        return None
    optimizer, offset = _get_offset(model)
    step = optimizers.count_steps(model.optimizer)
    return step + (offset if optimizer is model.optimizer else 0) or None


state.save_fact(_SAVED, _read_step)
