"""Computes thresholds for the weights of each class, and the sparsity that they lead to."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from kprune import allocations
from kprune._masking import masked_weights
from kprune._masking.weight import Weight
from kprune._support import signatures, validation

__all__ = ["of", "targets"]


@signatures.explained
def of(model: keras.Model, quality: float) -> dict[str, float]:
    """Returns a threshold for each class, relative to the deviation of its surviving weights.

    `threshold_c = quality * sigma_c`

    with `sigma_c` the standard deviation of the surviving weights. Use it with `targets` to prune
    at once, or to compute the thresholds of the `ThresholdPruning` callback from the dense model,
    so that a resumed training has the same ones.

    Args:
        model: a wrapped model.
        quality: the factor; 1 prunes 68 % of normally distributed weights.

    Raises:
        ValueError: the quality is not above zero, or the model is not wrapped.

    Example:
        >>> thresholds = kprune.thresholds.of(kprune.wrap(model), quality=1.0)

    Reference:
        Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
    """
    validation.require_number(quality, "quality", write=1.0, above=True)
    return {
        name: quality * allocations.standard_deviation(group)
        for name, group in allocations.group_by_class(masked_weights.require(model)).items()
    }


@signatures.explained
def targets(model: keras.Model, thresholds: Mapping[str, float]) -> dict[str, float]:
    """Returns the sparsity of each class after all weights below its threshold are pruned.

    Use it to prune by thresholds at once: it turns them into sparsities for `kprune.prune`.

    Args:
        model: a wrapped model.
        thresholds: the threshold of each class; a class without one is not pruned.

    Returns:
        For each class in `thresholds` its sparsity.

    Raises:
        TypeError: the thresholds are no mapping, or an empty one.
        ValueError: a name is no class of the model, or all weights of a class would be pruned.

    Example:
        >>> thresholds = kprune.thresholds.of(kprune.wrap(model), quality=0.5)
        >>> report = kprune.prune(model, kprune.thresholds.targets(model, thresholds))
    """
    groups = allocations.group_by_class(masked_weights.require(model))
    sparsities = {}
    validate(thresholds)
    for name, threshold in thresholds.items():
        if name not in groups:
            known = ", ".join(f'"{label}"' for label in groups)
            raise ValueError(
                f"thresholds has {name!r}, which is no class of this model; expected some of "
                f"{known}. Write thresholds=kprune.thresholds.of(model, quality=1.0)."
            )
        sparsities[name] = _measure_sparsity_below(groups[name], threshold)
        if sparsities[name] == 1:
            raise ValueError(
                f"A threshold of {threshold:g} leaves nothing of {name!r}; expected one below its "
                "largest weight. Lower the quality, or write kprune.wrap(model, exclude=...)."
            )
    return sparsities


def validate(thresholds: object) -> None:
    """Raises TypeError or ValueError if a value is no mapping from class to threshold."""
    if not isinstance(thresholds, Mapping) or not thresholds:
        raise TypeError(
            f"thresholds={validation.describe_kind(thresholds)}; expected a mapping from class to "
            "threshold, not empty. Write thresholds=kprune.thresholds.of(model, quality=1.0)."
        )
    for name, threshold in thresholds.items():
        validation.require_number(threshold, f"thresholds[{name!r}]", write=0.1)


def _measure_sparsity_below(weights: Sequence[Weight], threshold: float) -> float:
    small = sum(int(np.count_nonzero(np.abs(weight.values()) < threshold)) for weight in weights)
    return small / sum(weight.size for weight in weights)
