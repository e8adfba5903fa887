"""Refits: what becomes of the survivors, whatever chose them."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kprune import calibration
from kprune._masking.weight import Weight
from kprune._second_order import loss_models
from kprune._second_order.layer_inputs import observation
from kprune._support import registration
from kprune._support.typing import Array


class Refit(registration.Member, abc.ABC):
    """How the survivors of a mask move. Subclasses are frozen dataclasses."""

    @abc.abstractmethod
    def compensate(
        self,
        model: keras.Model,
        weights: Sequence[Weight],
        keep: Sequence[Array],
        statistics: Any,
        before: Mapping[Weight, Array],
    ) -> Mapping[Weight, Any]:
        """Returns new values for the weights, given the masks to come.

        Args:
            model: as it was before the cut.
            weights: the weights that are cut together.
            keep: their masks to come.
            statistics: what the criterion has seen.
            before: weights that this cut has pruned already, with the values that they had.
        """

    def groups(self, model: keras.Model, weights: Sequence[Weight]) -> Sequence[Sequence[Weight]]:
        """Says which weights are cut together, and which after them."""
        return (weights,)


@registration.register
@dataclasses.dataclass(frozen=True)
class LeastSquares(Refit):
    """The survivors that keep each layer's outputs best: `v_S = H_SS^-1 (H w)_S`.

    Use it after one-shot pruning by any criterion, with any pattern, where nothing is retrained:
    it is never worse for a layer than the survivors as they were, or as another formula moved
    them. `H = 2 X^T X / n` of the layer's inputs; the cost is `min(kept, fallen)^3 / 3` for each
    column of a layer.

    Args:
        data: batches x, (x, y) or (x, y, sample_weight), or whole arrays. Default: what the
            criterion has seen, where that is the inputs of layers.
        damping: what is added to the diagonal of H, relative to its mean; "auto" chooses by what
            held-out samples say.
        batch_size: samples in a batch where `data` is whole arrays.
        sequential: cut one layer after another, each with the inputs that the pruned ones before
            it produce, aimed at the outputs of the dense model.

    Raises:
        ValueError: there is no data, or the model does not take it.

    Example:
        >>> refit = kprune.refits.LeastSquares(x)
        >>> kprune.prune(model, 0.5, criterion="magnitude", refit=refit)
    """

    data: Any = dataclasses.field(
        default=None, repr=False, compare=False, metadata={"config": False}
    )
    damping: loss_models.Damping = dataclasses.field(default="auto", kw_only=True)
    batch_size: int = dataclasses.field(default=128, kw_only=True)
    sequential: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        loss_models.validate_damping(self.damping)

    def compensate(
        self,
        model: keras.Model,
        weights: Sequence[Weight],
        keep: Sequence[Array],
        statistics: Any,
        before: Mapping[Weight, Array],
    ) -> Mapping[Weight, Any]:
        """Solves the masked least squares of each column."""
        if self.data is None and isinstance(statistics, loss_models.LayerwiseLoss):
            return statistics.minimize(weights, keep)
        data = self._calibration(model)
        splits = observation.observe(weights, data, self.damping == "auto", before)
        return loss_models.LayerwiseLoss(splits, 0.0, self.damping).minimize(weights, keep)

    def groups(self, model: keras.Model, weights: Sequence[Weight]) -> Sequence[Sequence[Weight]]:
        """Groups the weights by layer, where layers come one after another."""
        if not self.sequential:
            return (weights,)
        return observation.group_in_order(weights, self._calibration(model))

    def _calibration(self, model: keras.Model) -> calibration.Calibration:
        return calibration.Calibration(self.data, model, "LeastSquares", False, self.batch_size)


MEMBERS = {"least_squares": LeastSquares}


def get(identifier: Any) -> Refit | None:
    """Returns the refit that a name, a config or a refit stands for; `None` stands for none."""
    if identifier is None:
        return None
    return registration.resolve(identifier, Refit, MEMBERS, "refit")  # type: ignore[type-abstract]
