"""Finds which Keras variable a constant of an exported file holds, by its values."""

import dataclasses
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from kprune._keras import backend
from kprune._masking import locations
from kprune._support.typing import Array

ALIKE = 0.98  # the least cosine between a column and what rounding or scaling has made of it
SAMPLE = 16  # columns that are compared before all are


@dataclasses.dataclass(frozen=True, eq=False)
class _Variable:
    """A variable as a matrix [input, output], in the order in which the model holds it."""

    path: str
    matrix: Array


def find_paths(model: keras.Model, constants: Sequence[Array]) -> list[str | None]:
    """Returns the path of the Keras variable that each constant holds, or `None`.

    A converter renames variables, transposes and reshapes kernels, rounds them to half floats or
    integers, and scales each output by the batch normalisation that follows. So a constant is
    compared with the variables of its size, output by output, up to a factor:

        |cos(c_o, w_o)| >= 0.98 for every output o

    Variables of equal values are given to equal constants in their order. The cost grows with the
    size of the constants times the number of variables of one size, of which most are told apart by
    a few outputs.

    Args:
        model: the model that was exported.
        constants: arrays of numbers, as the file stores them.

    Returns:
        A path or `None` for each constant.
    """
    by_size: dict[int, list[_Variable]] = {}
    for location in locations.locate(model):
        if "float" in str(location.variable.dtype) and location.variable.shape:
            values = np.asarray(backend.read(location.variable), np.float32)
            found = _Variable(location.path, _matrix(location, values))
            by_size.setdefault(found.matrix.size, []).append(found)
    paths: list[str | None] = []
    for constant in constants:
        candidates = by_size.get(constant.size, [])
        match = next((each for each in candidates if _holds(constant, each.matrix)), None)
        paths.append(None if match is None else match.path)
        if match is not None and len(candidates) > 1:  # the next equal constant is another's
            candidates.remove(match)
            candidates.append(match)
    return paths


def paths_in_files(names: Iterable[str], model: keras.Model, arrays: Sequence[Array]) -> list[str]:
    """Returns the path of the variable that each array of a file holds, or else the file's name."""
    found = find_paths(model, arrays)
    return [name if path is None else path for name, path in zip(names, found, strict=True)]


def _matrix(location: locations.Location, values: Array) -> Array:
    return location.view.matrix(values) if values.ndim > 1 else values.reshape(1, -1)


def _holds(constant: Array, matrix: Array) -> bool:
    """Returns whether a constant is a matrix [input, output] or its transpose, up to factors."""
    if constant.dtype.kind not in "fi" or constant.size != matrix.size:
        return False
    if constant.ndim < 2:
        exact = constant.astype(np.float32).reshape(-1)
        return np.array_equal(exact, matrix.reshape(-1).astype(constant.dtype))
    flat = constant.astype(np.float32)
    transposed = flat.reshape(matrix.shape[::-1]).T
    return any(_is_alike(each, matrix) for each in (transposed, flat.reshape(matrix.shape)))


def _is_alike(ours: Array, theirs: Array) -> bool:
    """Returns whether all columns of two matrices point the same way, or the opposite one."""
    few = slice(None, None, max(1, theirs.shape[1] // SAMPLE))
    for columns in (few, slice(None)):
        a, b = ours[:, columns], theirs[:, columns]
        products = np.abs(np.einsum("io,io->o", a, b))
        norms = np.sqrt(np.einsum("io,io->o", a, a) * np.einsum("io,io->o", b, b))
        empty = ~a.any(0) & ~b.any(0)
        if not ((products >= ALIKE * norms) & ((norms > 0) | empty)).all():
            return False
    return True
