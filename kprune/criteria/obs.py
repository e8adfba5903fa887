"""Optimal Brain Surgeon: what the loss would not miss when the other weights may move."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras

from kprune._masking.weight import Weight
from kprune._second_order import loss_models
from kprune._second_order.hessian import Factors, Kind, Objective
from kprune._support import registration
from kprune._support.typing import Array
from kprune.criteria import _layerwise, criterion


@registration.register
@dataclasses.dataclass(frozen=True)
class OBS(_layerwise.LayerwiseCriterion):
    """What the loss gains when the weight goes and the others move: `s = w^2 / (2 [H^-1]_qq)`.

    Use it after training, without any retraining: the survivors take over what has gone,
    `d_S = -[H^-1]_SQ ([H^-1]_QQ)^-1 w_Q` for the set Q of all that goes. H is one of three:

    - "layerwise": of each layer's own squared error, `2 X^T X / n` of its inputs. Weights of a
      column go one after another, exactly greedily, and compete with those of other columns by what
      they cost then. No labels and no loss are needed. `2/3 rows^3` for each column.
    - "full": of the model's own loss over all weights together, by Gauss-Newton or the empirical
      Fisher matrix. The cost is `m^2` for each weight, m the factors: samples times outputs up to 4
      outputs, samples beyond.
    - "block": of the model's own loss in blocks of weights of one output.

    Scores of different layers compare: where H is of the model's loss by themselves, and layer by
    layer as parts of what each layer's outputs are altogether.

    Args:
        data: batches (x, y) or (x, y, sample_weight), or whole arrays; layer by layer, x is enough.
            It is left out of the config.
        hessian: "layerwise", "full" or "block".
        fisher: what stands for the Hessian of the loss: "gauss_newton" or "empirical_fisher".
        block_size: weights in a block.
        batch_size: samples in a batch where `data` is whole arrays.
        recomputations: in how many parts a cut is made, each with a new H. The model of the loss is
            good nearby: with "full" and "block" at high sparsities 16 and more pay.
        sequential: layer by layer, cut one layer after another, each with the inputs that the
            pruned ones before it produce, aimed at the outputs of the dense model.
        damping: what is added to the diagonal of H, relative to its mean. "auto" chooses by what
            held-out samples say: a fifth of the data, on which a trial cut is evaluated.

    Raises:
        ValueError: there is no data, the model does not take it, or H is of the model's loss and
            there are no labels or the model is not compiled.

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
        if self.hessian not in ("layerwise", "full", "block"):
            raise ValueError(
                f'hessian={self.hessian!r}; expected "layerwise", "full" or "block". '
                'Write hessian="layerwise".'
            )
        if self.sequential and self.hessian != "layerwise":
            raise ValueError(
                f'sequential=True came with hessian="{self.hessian}"; one layer after another goes '
                'with "layerwise". Write sequential=False.'
            )
        if not isinstance(self.block_size, int) or self.block_size < 1:
            raise ValueError(
                f"block_size={self.block_size!r}; expected a whole number, at least 1. "
                "Write block_size=64."
            )

    def observe(
        self, model: keras.Model, weights: Sequence[Weight], stage: criterion.Stage
    ) -> loss_models.LossModel:
        """Builds the quadratic model of the loss."""
        if self.hessian == "layerwise":
            return super().observe(model, weights, stage)
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
        """Returns what the weight costs."""
        return statistics.compute_costs(weight)

    def compensate(
        self,
        weights: Sequence[Weight],
        keep: Sequence[Array],
        statistics: loss_models.LossModel,
    ) -> Mapping[Weight, Any]:
        """Moves the survivors to where the quadratic model is lowest."""
        return statistics.minimize(weights, keep)
