"""Reads TFMOT's masks and patterns, and puts them on a Keras 3 model."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np

from kprune import patterns
from kprune._masking import locations, masked_weights, wrapping
from kprune._support import warning
from kprune._support.typing import Array
from kprune.migrate._errors import MigrationError

POOLINGS: dict[str, Literal["mean", "max"]] = {"AVG": "mean", "MAX": "max"}
MIN_ZEROS = 0.01  # fraction of a weight that counts as pruned, where no wrapper says so


@dataclasses.dataclass(frozen=True)
class PrunedVariable:
    """Describes a weight that TFMOT prunes.

    Args:
        layer: the name of its layer, for messages.
        variable: the weight in the Keras 3 model.
        mask: boolean, of the weight's shape; true is kept.
        block_size: TFMOT's, rows and columns of a matrix.
        pooling: TFMOT's, "AVG" or "MAX".
        zeros_of: TFMOT's `sparsity_m_by_n`: (zeros, group); `None` where it is not used.
    """

    layer: str
    variable: keras.Variable
    mask: Array
    block_size: tuple[int, int] = (1, 1)
    pooling: str = "AVG"
    zeros_of: tuple[int, int] | None = None


def is_wrapper(layer: Any) -> bool:
    """Returns whether a layer is TFMOT's `PruneLowMagnitude`."""
    return any(
        base.__name__ == "PruneLowMagnitude"
        and base.__module__.startswith("tensorflow_model_optimization")
        for base in type(layer).__mro__
    )


def read(wrapper: Any, variables: Mapping[int, keras.Variable]) -> list[PrunedVariable]:
    """Returns the weights that a wrapper prunes.

    Args:
        wrapper: a `PruneLowMagnitude` layer.
        variables: the new variable for the `id` of each old one.
    """
    found = []
    for old, mask, _ in wrapper.pruning_vars:
        found.append(
            PrunedVariable(
                layer=wrapper.layer.name,
                variable=variables[id(old)],
                mask=np.asarray(mask) != 0,
                block_size=tuple(wrapper.block_size),
                pooling=wrapper.block_pooling_type,
                zeros_of=wrapper.sparsity_m_by_n,
            )
        )
    return found


def read_zeros(variables: Iterable[keras.Variable]) -> list[PrunedVariable]:
    """Returns the weights with zeros of a model without wrappers, their zeros as masks.

    A weight of zeros alone has not been trained yet, and one zero among thousands is drawn by
    chance: of uniform float32 numbers one in 8 million is zero.
    """
    found = []
    for variable in variables:
        mask = np.asarray(variable) != 0
        if mask.ndim > 1 and mask.any() and mask.mean() <= 1 - MIN_ZEROS:
            found.append(PrunedVariable(variable.path, variable, mask))
    return found


def wrap(
    model: keras.Model, pruned: Sequence[PrunedVariable], pattern: patterns.Pattern | None
) -> None:
    """Puts masks on the weights that TFMOT prunes.

    Args:
        model: of Keras 3.
        pruned: the weights.
        pattern: of all of them. Default: TFMOT's.

    Raises:
        MigrationError: a pattern of TFMOT's has no counterpart.
    """
    views = {id(each.variable): each.view for each in locations.locate(model)}
    groups: dict[patterns.Pattern, list[PrunedVariable]] = {}
    for each in pruned:
        found = pattern or _convert_pattern(each, views[id(each.variable)])
        groups.setdefault(found, []).append(each)
    for found, group in groups.items():
        wrapping.wrap(model, include=[each.variable for each in group], pattern=found)
    weights = {id(each.variable): each for each in masked_weights.find(model)}
    stray = 0
    for each in pruned:
        weight = weights[id(each.variable)]
        stray += int(np.count_nonzero(weight.values()[~each.mask]))
        weight.write(each.mask)
    if stray:
        warning.warn(
            f"{stray:,} weights of {model.name} under TFMOT's masks were not zero, as they are "
            "between an update of the optimizer and the end of an epoch; they are zero now, and "
            "outputs differ by that. Give tfmot.sparsity.keras.UpdatePruningStep() to fit, and "
            "convert the model after it.",
        )


def _convert_pattern(pruned: PrunedVariable, view: patterns.MatrixView) -> patterns.Pattern:
    """Returns kprune's pattern for that of TFMOT."""
    if pruned.zeros_of is not None:
        zeros, group = (int(n) for n in pruned.zeros_of)
        # TFMOT counts groups along the last axis but one; kprune along the input axes, flattened.
        axis = len(view.shape) - 2
        whole = view.inputs == (axis,) or view.shape[axis] % group == 0
        if view.inputs[-1:] == (axis,) and whole:
            return patterns.NM(group - zeros, group)
        raise _unmapped(pruned, f"sparsity_m_by_n={(zeros, group)}")
    rows, columns = (int(n) for n in pruned.block_size)
    if (rows, columns) == (1, 1):
        return patterns.Unstructured()
    if view.inputs == (0,) and view.outputs == (1,):  # TFMOT takes blocks of matrices alone
        return patterns.Block((rows, columns), POOLINGS[pruned.pooling])
    raise _unmapped(pruned, f"block_size={(rows, columns)}")


def _unmapped(pruned: PrunedVariable, argument: str) -> MigrationError:
    return MigrationError(
        f"{argument} of {pruned.layer} has no counterpart for a weight of shape "
        f"{tuple(pruned.variable.shape)}; expected groups or blocks of the matrix [input, output]. "
        'Write from_tfmot(model, pattern="unstructured"): the masks are kept in any case.'
    )
