"""Scores weights by the least change of the loss as others move (Optimal Brain Surgeon)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras

from kprune._keras import backend
from kprune._masking.weight import Weight
from kprune._second_order import loss_models
from kprune._second_order.hessian import Factors, Kind, Objective
from kprune._support import registration, validation
from kprune._support.typing import Array
from kprune.criteria import _layerwise, criterion

__all__ = ["OBS"]


@registration.register
@dataclasses.dataclass(frozen=True)
class OBS(_layerwise.LayerwiseCriterion):
    """Scores weights by the least change of the loss as others move: `s = w^2 / (2 [H^-1]_qq)`.

    Use it after training, without retraining: the survivors compensate for the set Q of all pruned
    weights by `d_S = -[H^-1]_SQ ([H^-1]_QQ)^-1 w_Q`. H is one of three Hessians:

    - "layerwise": that of each layer's squared error, `2 X^T X / n` of its inputs. The weights of a
      column are eliminated one after another in the exact greedy order, and compete with those of
      other columns by their costs at that point. No labels and no loss are needed. The cost is
      `2/3 rows^3` for each column.
    - "full": that of the model's own loss over all weights together, by the Gauss-Newton or the
      empirical Fisher matrix. The cost is `m^2` for each weight, m the number of factors: samples
      times outputs for up to 4 outputs, samples beyond.
    - "block": that of the model's own loss in blocks of weights of one output.

    The scores of different layers are comparable: those of the model's loss as they are, those of
    "layerwise" because they are relative to the sum of squares of each layer's outputs.

    Args:
        data: batches (x, y) or (x, y, sample_weight), or whole arrays; layer by layer, x is enough.
            It is left out of the config.
        hessian: "layerwise", "full" or "block".
        fisher: the approximation of the Hessian of the loss, "gauss_newton" or
            "empirical_fisher".
        block_size: weights in a block.
        batch_size: samples in a batch if `data` is whole arrays.
        recomputations: the number of steps of a mask update, each with a new H. A quadratic model
            of the loss is accurate near the present weights only: with "full" and "block" at high
            sparsities use 16 or more.
        sequential: with "layerwise", prune one layer after another, each with the inputs that the
            pruned ones before it produce, and with the outputs of the dense model as its target.
        damping: what is added to the diagonal of H, relative to its mean, at least 0. "auto" tries
            some, each by a trial mask update whose error is measured on held-out samples, a fifth
            of the data, and takes the best.

    Raises:
        ValueError: there is no data, or the model does not take it; with "full" and "block" also if
            there are no labels, or the model is not compiled.

    Example:
        >>> kprune.prune(model, 0.5, kprune.criteria.OBS(x))

    Reference:
        Hassibi and Stork, Second order derivatives for network pruning: Optimal Brain Surgeon,
        1993; layer by layer, Frantar and Alistarh, Optimal Brain Compression, 2022; in blocks,
        Singh and Alistarh, WoodFisher, 2020, and Kurtic et al., The Optimal BERT Surgeon, 2022.
    """

    hessian: Literal["layerwise", "full", "block"] = "layerwise"
    fisher: Kind = dataclasses.field(default="gauss_newton", kw_only=True)
    block_size: int = dataclasses.field(default=64, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.require_choice(self.hessian, "hessian", ("layerwise", "full", "block"))
        validation.require_choice(self.fisher, "fisher", ("gauss_newton", "empirical_fisher"))
        if self.sequential and self.hessian != "layerwise":
            raise ValueError(
                f'sequential=True came with hessian="{self.hessian}"; expected it with '
                'hessian="layerwise" alone. Write sequential=False.'
            )
        validation.require_whole(self.block_size, "block_size", write=64)

    def observe(
        self, model: keras.Model, weights: Sequence[Weight], stage: criterion.Stage
    ) -> loss_models.LossModel:
        """Builds the quadratic model of the loss."""
        if self.hessian == "layerwise":
            return super().observe(model, weights, stage)
        backend.require_tensorflow("The second derivative of the loss, for OBS,")
        data = self.calibration(model, labelled=True)
        loss = Objective(model, [weight.variable for weight in weights], "OBS")
        sparsity = stage.sparsity
        factors = Factors(loss, self.fisher, exact=4, draws=1)
        if self.hessian == "full":
            return loss_models.build_full(weights, factors, data, sparsity, self.damping)
        return loss_models.build_blockwise(
            weights, factors, data, sparsity, self.damping, self.block_size
        )

    def score(self, weight: Weight, statistics: loss_models.LossModel) -> Array:
        """Returns what pruning each weight costs."""
        return statistics.compute_costs(weight)

    def compensate(
        self,
        weights: Sequence[Weight],
        keep: Sequence[Array],
        statistics: loss_models.LossModel,
    ) -> Mapping[Weight, Any]:
        """Moves the survivors to the minimum of the quadratic model."""
        return statistics.minimize(weights, keep)
