"""Prunes the inputs of a layer from first to last, and corrects later ones (SparseGPT)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kprune._masking.weight import Weight
from kprune._second_order import loss_models
from kprune._support import registration
from kprune._support.typing import Array
from kprune.criteria import _layerwise

__all__ = ["SparseGPT"]


@registration.register
@dataclasses.dataclass(frozen=True)
class SparseGPT(_layerwise.LayerwiseCriterion):
    """Scores weights in a sweep over a layer's inputs: `s_ij = w_ij^2 / U_ii^2`, `H^-1 = U^T U`.

    Use it after training, for layers of thousands of inputs, for which `OBS` takes too long: one
    factorization for each layer. Masks are chosen in blocks of 128 inputs, when the sweep reaches
    them, each to the same sparsity. Scores are divided by the threshold of their block, so an
    allocation that prunes more of one layer than of another moves that threshold. Survivors
    compensate for the errors of the inputs before them; with `refit="least_squares"` for all
    errors.

    Args:
        data: batches x, (x, y) or (x, y, sample_weight), or whole arrays; labels are not used.
            It is left out of the config.
        batch_size: samples in a batch if `data` is whole arrays.
        recomputations: the number of steps of a mask update, each with new inputs.
        sequential: prune one layer after another, each with the inputs that the pruned ones before
            it produce, and with the outputs of the dense model as its target.
        damping: what is added to the diagonal of H, relative to its mean, at least 0; "auto" tries
            some on held-out samples and takes the best; the paper's is 0.01.

    Raises:
        ValueError: there is no data, or the model does not take it.

    Example:
        >>> kprune.prune(model, 0.5, criterion=kprune.criteria.SparseGPT(x))

    Reference:
        Frantar and Alistarh, SparseGPT: Massive Language Models Can Be Accurately Pruned in
        One-Shot, 2023.
    """

    def score(self, weight: Weight, statistics: loss_models.LayerwiseLoss) -> Array:
        """Sweeps over the weight to the sparsity of all weights together."""
        return statistics.sweep_scores(weight)

    def compensate(
        self,
        weights: Sequence[Weight],
        keep: Sequence[Array],
        statistics: loss_models.LayerwiseLoss,
    ) -> Mapping[Weight, Any]:
        """Sweeps over the weights with their new masks."""
        return statistics.sweep(weights, keep)
