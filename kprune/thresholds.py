"""Thresholds: what is small for its class goes, however much that is."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from kprune import allocations
from kprune._masking import masked_weights
from kprune._masking.weight import Weight


def of(model: keras.Model, quality: float) -> dict[str, float]:
    """Returns a threshold for each class: a part of the spread of its surviving weights.

    `threshold_c = quality * sigma_c`

    Use it with `targets` to prune by hand, or to fix the thresholds of the `ThresholdPruning`
    callback from the dense model, so that a resumed training has the same ones.

    Args:
        model: a wrapped model.
        quality: the parameter of the paper; for normal weights 1 prunes 68 % of a class.

    Raises:
        ValueError: the quality is not above zero, or the model is not wrapped.

    Example:
        >>> thresholds = kprune.thresholds.of(kprune.wrap(model), quality=1.0)

    Reference:
        Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
    """
    if not quality > 0:
        raise ValueError(f"quality={quality}; expected more than 0. Write quality=1.0.")
    return {
        name: quality * allocations.standard_deviation(group)
        for name, group in allocations.group_by_class(masked_weights.require(model)).items()
    }


def targets(model: keras.Model, thresholds: Mapping[str, float]) -> dict[str, float]:
    """Returns the sparsity of each class once everything below its threshold is gone.

    Args:
        model: a wrapped model.
        thresholds: by class; a class that is missing stays as it is.

    Raises:
        ValueError: a threshold of no class, or one that would leave nothing of its class.

    Example:
        >>> thresholds = kprune.thresholds.of(kprune.wrap(model), quality=0.5)
        >>> report = kprune.prune(model, kprune.thresholds.targets(model, thresholds))
    """
    groups = allocations.group_by_class(masked_weights.require(model))
    found = {}
    for name, threshold in thresholds.items():
        if name not in groups:
            known = ", ".join(f'"{label}"' for label in groups)
            raise ValueError(
                f"thresholds has {name!r}, which is no class of this model; expected some of "
                f"{known}. Write thresholds=kprune.thresholds.of(model, quality=1.0)."
            )
        found[name] = _measure_sparsity_below(groups[name], threshold)
        if found[name] == 1:
            raise ValueError(
                f"A threshold of {threshold:g} leaves nothing of {name!r}; expected one below its "
                "largest weight. Lower the quality, or write kprune.wrap(model, exclude=...)."
            )
    return found


def _measure_sparsity_below(weights: Sequence[Weight], threshold: float) -> float:
    small = sum(int(np.count_nonzero(np.abs(weight.values()) < threshold)) for weight in weights)
    return small / sum(weight.size for weight in weights)
