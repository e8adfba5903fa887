"""Moves the surviving weights after a choice of masks, whatever criterion made it."""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import keras

from kprune import calibration
from kprune._masking.weight import Weight
from kprune._second_order import loss_models
from kprune._second_order.layer_inputs import observation
from kprune._support import registration, signatures, validation
from kprune._support.typing import Array

__all__ = ["MEMBERS", "LeastSquares", "Refit", "RefitName", "get"]


class Refit(registration.Member, abc.ABC):
    """Moves the surviving weights. Subclasses are frozen dataclasses with a `compensate`."""

    @abc.abstractmethod
    def compensate(
        self,
        model: keras.Model,
        weights: Sequence[Weight],
        keep: Sequence[Array],
        statistics: Any,
        before: Mapping[Weight, Array],
    ) -> Mapping[Weight, Any]:
        """Returns new values for the weights, given their new masks.

        Args:
            model: the model before the mask update.
            weights: the weights that are pruned together.
            keep: their new masks, boolean, in the shape of each weight.
            statistics: what the criterion's `observe` returned.
            before: weights that this mask update has pruned already, with their earlier values.
        """

    def groups(self, model: keras.Model, weights: Sequence[Weight]) -> Sequence[Sequence[Weight]]:
        """Returns the weights in groups that are pruned one after another."""
        return (weights,)


@registration.register
@dataclasses.dataclass(frozen=True)
class LeastSquares(Refit):
    """Moves the survivors to where the layer's outputs change least: `v_S = H_SS^-1 (H w)_S`.

    Use it after one-shot pruning by any criterion, with any pattern, without retraining: the error
    of a layer's outputs is never greater than with the survivors as they were, or as another
    formula moved them. `H = 2 X^T X / n` of the layer's inputs; the cost is
    `min(kept, pruned)^3 / 3` for each column of a layer.

    Args:
        data: batches x, (x, y) or (x, y, sample_weight), or whole arrays. Default: the data of the
            criterion, if that observed the inputs of layers. It is left out of the config.
        damping: what is added to the diagonal of H, relative to its mean, at least 0; "auto" tries
            some on held-out samples and takes the best.
        batch_size: samples in a batch if `data` is whole arrays.
        sequential: prune one layer after another, each with the inputs that the pruned ones before
            it produce, and with the outputs of the dense model as its target.

    Raises:
        ValueError: there is no data, or the model does not take it.

    Example:
        >>> refit = kprune.refits.LeastSquares(x)
        >>> kprune.prune(model, 0.5, criterion="magnitude", refit=refit)

    Reference:
        Frantar and Alistarh, Optimal Brain Compression, 2022, where it is the end of the greedy
        elimination; here it is solved for any mask.
    """

    data: calibration.Data | None = dataclasses.field(
        default=None, repr=False, compare=False, metadata={"config": False}
    )
    damping: loss_models.Damping = dataclasses.field(default="auto", kw_only=True)
    batch_size: int = dataclasses.field(default=128, kw_only=True)
    sequential: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        loss_models.validate_damping(self.damping)
        validation.require_whole(self.batch_size, "batch_size", write=128)
        validation.require_flag(self.sequential, "sequential")

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
        """Groups the weights by layer if `sequential`, in the order in which data flows."""
        if not self.sequential:
            return (weights,)
        return observation.group_in_order(weights, self._calibration(model))

    def _calibration(self, model: keras.Model) -> calibration.Calibration:
        return calibration.Calibration(self.data, model, "LeastSquares", False, self.batch_size)


RefitName: TypeAlias = Literal["least_squares"]

MEMBERS: dict[str, Callable[[], Refit]] = {"least_squares": LeastSquares}


@signatures.explained
def get(identifier: Any) -> Refit | None:
    """Returns the refit that a name, a config or a refit stands for; `None` for `None`.

    Args:
        identifier: a name among `MEMBERS`, a config, a refit, or `None`.

    Raises:
        ValueError: the name is unknown.
        TypeError: it is none of these.

    Example:
        >>> kprune.refits.get("least_squares").damping
        'auto'
    """
    if identifier is None:
        return None
    return registration.resolve(identifier, Refit, MEMBERS, "refit")  # type: ignore[type-abstract]
