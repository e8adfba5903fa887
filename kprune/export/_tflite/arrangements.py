"""Compares a TFLite constant with an array, in every order of axes in which TFLite stores it."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np

from kprune._support.typing import Array
from kprune.export._tflite.format import flatbuffer
from kprune.export._tflite.format.constants import Constant

MAX_RANK = 5  # of arrays whose axes are tried in every order
MIN_CHANNEL = 4  # values for each scale, fewer of which are proportional by chance
# Differences that rounding makes: relative, or in steps of quantized values.
TOLERANCES = {"float32": 1e-5, "float16": 2e-3}
STEP = 0.52


@dataclasses.dataclass(frozen=True)
class Magnitude:
    """How large values are, whatever their order.

    Args:
        largest: the largest absolute value.
        total: the sum of absolute values.
    """

    largest: float
    total: float

    @classmethod
    def of(cls, array: Array) -> "Magnitude":
        """Returns the magnitude of an array."""
        absolute = np.abs(array)
        return cls(float(absolute.max(initial=0.0)), float(absolute.sum(dtype=np.float64)))


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """A constant to compare with arrays.

    Args:
        values: of the constant.
        kind: the name of its type.
        scale: of quantized values, in the shape in which it multiplies them; else `None`.
    """

    values: Array
    kind: str
    scale: Array | None

    @classmethod
    def of(cls, constant: Constant) -> "Comparison | None":
        """Returns the comparison for a constant, or `None` where it cannot be a float variable."""
        kind = flatbuffer.kind(constant.tensor)
        values = constant.stored
        if kind in TOLERANCES:
            return cls(values, kind, None)
        quantization = constant.tensor.quantization
        scale = None if quantization is None else quantization.scale
        if values.dtype.kind != "i" or scale is None or not len(scale):
            return None
        shape = [1] * values.ndim
        if len(scale) > 1:
            shape[quantization.quantizedDimension] = len(scale)
        return cls(values, kind, np.asarray(scale, np.float64).reshape(shape))

    @property
    def size(self) -> int:
        """How many values there are."""
        return int(self.values.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the constant."""
        return self.values.shape

    @functools.cached_property
    def magnitude(self) -> "Magnitude":
        """The magnitude of what the constant stands for."""
        return Magnitude.of(self.values if self.scale is None else self.values * self.scale)

    def may_equal(self, magnitude: "Magnitude") -> bool:
        """Returns False where no order of an array's values can be those of the constant.

        It spares most comparisons of large arrays, which have to be transposed for them.
        """
        own = self.magnitude
        if not np.isfinite([*dataclasses.astuple(own), *dataclasses.astuple(magnitude)]).all():
            return True
        if self.scale is None:
            relative = TOLERANCES[self.kind]
            largest, total = relative * own.largest, relative * own.total
        else:
            steps = np.broadcast_to(self.scale, self.values.shape)
            largest, total = STEP * float(steps.max()), STEP * float(steps.sum())
        return (
            abs(own.largest - magnitude.largest) <= largest
            and abs(own.total - magnitude.total) <= total + 1e-6 * own.total
        )

    def is_equal(self, array: Array) -> bool:
        """Returns whether the constant holds an array of its shape, rounded to its type."""
        first = slice(0, 1)  # most arrays differ there already
        return self._is_equal(array, first) and self._is_equal(array, slice(None))

    def _is_equal(self, array: Array, part: slice) -> bool:
        if not array.ndim:
            part = ...  # type: ignore[assignment]
        values, expected = self.values[part], array[part]
        if self.scale is None:
            with np.errstate(over="ignore"):
                return np.array_equal(values, expected.astype(values.dtype), equal_nan=True)
        scale = self.scale[part] if self.scale.shape[:1] == self.values.shape[:1] else self.scale
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = expected / scale
        limits = np.iinfo(values.dtype)
        steps = np.clip(np.nan_to_num(steps), limits.min, limits.max)
        return bool((np.abs(values - steps) <= STEP + 1e-6 * np.abs(steps)).all())

    def is_scaled(self, array: Array) -> bool:
        """Returns whether the constant is an array of its shape times a factor for each channel.

        Channels are the first axis or the last: the converter folds what multiplies the outputs
        or the inputs of an operator into its weights.
        """
        if self.values.ndim < 2 or self.kind not in (*TOLERANCES, "int8"):
            return False
        zeros = array == 0
        if np.any(self.values[zeros]) or not np.any(self.values):
            return False
        return any(
            self.size // self.values.shape[axis] >= MIN_CHANNEL and self._is_scaled(array, axis)
            for axis in dict.fromkeys((0, self.values.ndim - 1))
        )

    def _is_scaled(self, array: Array, axis: int) -> bool:
        others = tuple(each for each in range(array.ndim) if each != axis)
        values, array = self.values.astype(np.float64), array.astype(np.float64)
        squares = (array * array).sum(others, keepdims=True)
        factors = (values * array).sum(others, keepdims=True) / np.where(squares > 0, squares, 1)
        residual = np.abs(values - factors * array)
        if self.kind in TOLERANCES:
            largest = np.abs(values).max(others, keepdims=True)
            return bool((residual <= TOLERANCES[self.kind] * largest).all())
        # A step in the constant, and what half a step adds to the estimate of the factor.
        return bool((residual <= 1.5 * STEP).all())


def arrange(array: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Yields an array in the orders of its axes in which TFLite may store it, in a shape.

    Axes of length one count for nothing. Besides every order of the axes that has the shape, the
    first or the last few axes are taken together, as in the kernels of attention.
    """
    if array.size != math.prod(shape):
        return
    squeezed = array.squeeze()
    lengths = tuple(n for n in shape if n > 1)
    seen: set[tuple[int, ...]] = set()
    if squeezed.ndim <= MAX_RANK:
        for order in itertools.permutations(range(squeezed.ndim)):
            if tuple(squeezed.shape[axis] for axis in order) == lengths:
                seen.add(order)
                yield squeezed.transpose(order).reshape(shape)
    if lengths != squeezed.shape or not seen:
        yield array.reshape(shape)
    for axis in range(1, squeezed.ndim):
        order = (*range(axis, squeezed.ndim), *range(axis))
        if order not in seen:
            yield squeezed.transpose(order).reshape(shape)
