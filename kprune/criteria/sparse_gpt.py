"""SparseGPT: from the first input of a layer to the last, each error carried by those to come."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kprune._masking.weight import Weight
from kprune._second_order import loss_models
from kprune._support import registration
from kprune._support.typing import Array
from kprune.criteria import _layerwise


@registration.register
@dataclasses.dataclass(frozen=True)
class SparseGPT(_layerwise.LayerwiseCriterion):
    """A sweep over the inputs of a layer: `s_ij = w_ij^2 / U_ii^2`, with `H^-1 = U^T U`.

    Use it after training, for layers of thousands of inputs, where `OBS` takes too long: one
    factorisation for a layer. Masks are chosen in slabs of 128 inputs, as the sweep comes to them,
    each to the same sparsity; scores are in units of a slab's threshold, so an allocation that asks
    more of one layer than of another moves that threshold. Survivors take over the errors of the
    inputs before them; `refit="least_squares"` lets them take over all errors.

    Args:
        data: batches x, (x, y) or (x, y, sample_weight), or whole arrays; labels are not looked
            at. It is left out of the config.
        batch_size: samples in a batch where `data` is whole arrays.
        recomputations: in how many parts a cut is made, each with new inputs.
        sequential: cut one layer after another, each with the inputs that the pruned ones before
            it produce, aimed at the outputs of the dense model.
        damping: what is added to the diagonal of H, relative to its mean; "auto" chooses by what
            held-out samples say; as published, 0.01.

    Raises:
        ValueError: there is no data, or the model does not take it.

    Example:
        >>> kprune.prune(model, 0.5, criterion=kprune.criteria.SparseGPT(x))

    Reference:
        Frantar and Alistarh, SparseGPT: Massive Language Models Can Be Accurately Pruned in
        One-Shot, 2023.
    """

    def score(self, weight: Weight, statistics: loss_models.LayerwiseLoss) -> Array:
        """Sweeps the weight to the sparsity that is asked of all."""
        return statistics.sweep_scores(weight)

    def compensate(
        self,
        weights: Sequence[Weight],
        keep: Sequence[Array],
        statistics: loss_models.LayerwiseLoss,
    ) -> Mapping[Weight, Any]:
        """Sweeps the weights along the masks to come."""
        return statistics.sweep(weights, keep)
