"""Finds which variable of a Keras model each constant of its .tflite file holds.

The converter transposes, reshapes, rounds and quantizes weights, folds batch normalization into
convolutions, and gives constants names of its own. The values are still those of the model, so each
constant is compared with the variables of its size.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kprune._masking import locations
from kprune._support.typing import Array
from kprune.export._tflite import arrangements
from kprune.export._tflite.format import constants
from kprune.export._tflite.format.constants import Constant

MAX_PIECES = 4  # a recurrent layer's kernel may be split into one for each gate


@dataclasses.dataclass(eq=False)
class _Variable:
    """Describes a variable of the model.

    Args:
        location: where it lives.
        values: its values.
        owners: the names of the layers around it, and the owner last.
        uses: how many constants have been found to be this variable.
    """

    location: locations.Location
    values: Array
    owners: tuple[str, ...]
    uses: int = 0

    @functools.cached_property
    def magnitude(self) -> arrangements.Magnitude:
        """The magnitude of the values."""
        return arrangements.Magnitude.of(self.values)

    def count_hints(self, name: str) -> int:
        """Counts how much of a converter's name matches the layers of this variable.

        Tracing gives each layer's scope a number: the layer `dense` is found as `dense_1`.
        """
        scopes = {scope for part in name.split(";") for scope in part.split("/")}

        def score(layer: str) -> int:
            if f"{layer}_1" in scopes:
                return 3
            if any(re.fullmatch(rf"{re.escape(layer)}_\d+", scope) for scope in scopes):
                return 2
            return int(layer in scopes)

        own = score(self.owners[-1])
        return own and 10 * own + sum(score(each) for each in self.owners[:-1])


def name_constants(model: Any, keras_model: keras.Model) -> dict[tuple[int, str], str]:
    """Maps constants to the paths of the Keras variables whose values they hold.

    Where several variables have the values of a constant, the converter's name and the order of
    the layers decide. A constant that holds no variable's values is left out.

    Args:
        model: the `ModelT` of a dense file.
        keras_model: the plain model that it was converted from.

    Returns:
        For the sub-graph and the converter's name of a constant, the path of the variable.
    """
    variables = [
        _Variable(
            location,
            np.asarray(keras.ops.convert_to_numpy(location.variable), np.float32),
            tuple(owner.name for owner in location.owners),
        )
        for location in locations.locate(keras_model)
        if "float" in str(location.variable.dtype)
    ]
    found: dict[tuple[int, str], str] = {}
    for constant in constants.find(model):
        variable = _find(constant, variables)
        if variable is not None:
            variable.uses += 1
            found[constant.graph, constant.name] = variable.location.path
    return found


def _find(constant: Constant, variables: Sequence[_Variable]) -> _Variable | None:
    """Returns the variable whose values a constant holds, if there is one."""
    if constant.stored.size == 0 or not constant.readers:
        return None
    compare = arrangements.Comparison.of(constant)
    if compare is None:
        return None
    equal = [each for each in variables if _is_equal(compare, each)]
    if equal:
        # Zeros, ones and single numbers are found anywhere: the name has to match too.
        is_weak = bool(np.all(constant.stored == constant.stored.flat[0]))
        return _choose(constant, equal, needs_hint=is_weak and len(constant.shape) < 2)
    scaled = [each for each in variables if _is_scaled(compare, each)]
    return _choose(constant, scaled, needs_hint=len(scaled) > 1) if scaled else None


def _choose(
    constant: Constant, candidates: Sequence[_Variable], needs_hint: bool
) -> _Variable | None:
    """Returns the candidate with the most hints in the name, and among equals the least used."""
    best = max(candidates, key=lambda each: (each.count_hints(constant.name), -each.uses))
    return None if needs_hint and not best.count_hints(constant.name) else best


def _is_equal(compare: arrangements.Comparison, variable: _Variable) -> bool:
    if variable.values.size == compare.size and not compare.may_equal(variable.magnitude):
        return False
    return any(
        compare.is_equal(arranged)
        for piece in _pieces(variable.values, compare.size)
        for arranged in arrangements.arrange(piece, compare.shape)
    )


def _is_scaled(compare: arrangements.Comparison, variable: _Variable) -> bool:
    return variable.values.size == compare.size and any(
        compare.is_scaled(arranged)
        for arranged in arrangements.arrange(variable.values, compare.shape)
    )


def _pieces(values: Array, size: int) -> Iterator[Array]:
    """Yields the parts of a variable that have a size: itself, or equal parts along an axis."""
    if values.size == size:
        yield values
        return
    count, rest = divmod(values.size, size)
    if rest or not 2 <= count <= MAX_PIECES:
        return
    for axis in dict.fromkeys((0, values.ndim - 1)):
        if values.shape[axis] % count == 0:
            yield from np.split(values, count, axis)
