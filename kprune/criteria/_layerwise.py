"""Observes the inputs of each layer, for the criteria that are computed from them."""

import dataclasses
from collections.abc import Sequence

import keras

from kprune._masking.weight import Weight
from kprune._second_order import loss_models
from kprune._second_order.layer_inputs import observation
from kprune._support import validation
from kprune.criteria import criterion


@dataclasses.dataclass(frozen=True)
class LayerwiseCriterion(criterion.Calibrated):
    """Scores weights by the Gram matrices of the inputs of their layers.

    Args:
        sequential: prune one layer after another, in the order in which data flows, so that each
            sees the inputs that the pruned ones before it produce, and corrects their errors. Two
            calls of the model for each layer and batch.
        damping: what is added to the diagonal of `H`, relative to its mean, at least 0; "auto"
            tries some on held-out samples and takes the best.
    """

    sequential: bool = dataclasses.field(default=False, kw_only=True)
    damping: loss_models.Damping = dataclasses.field(default="auto", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.require_flag(self.sequential, "sequential")
        loss_models.validate_damping(self.damping)

    def groups(self, model: keras.Model, weights: Sequence[Weight]) -> Sequence[Sequence[Weight]]:
        """Groups the weights by layer if `sequential`, in the order in which data flows."""
        if not self.sequential:
            return (weights,)
        return observation.group_in_order(weights, self.calibration(model, labelled=False))

    def observe(
        self, model: keras.Model, weights: Sequence[Weight], stage: criterion.Stage
    ) -> loss_models.LossModel:
        """Accumulates the Gram matrices."""
        hold_out = self.damping == "auto"
        data = self.calibration(model, labelled=False)
        splits = observation.observe(weights, data, hold_out, stage.before)
        return loss_models.LayerwiseLoss(splits, stage.sparsity, self.damping)
