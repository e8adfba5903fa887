"""Encodes and decodes TFLite's sparse tensors: compressed levels over axes; NumPy alone.

An array is walked axis after axis, in an order that can be chosen. A dense level visits all of an
axis; a compressed one lists the positions that it visits, for each position above it: row starts
and column indices, as in the CSR format. What lies below the last compressed level is stored whole:
inner axes, and blocks, into which axes may be split beforehand.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kprune._support.typing import Array


@dataclasses.dataclass(frozen=True)
class Layout:
    """In what order an array is walked, and which axes are compressed.

    Args:
        outer: axes visited whole, first.
        compressed: axes whose visited positions are listed, one or two.
        inner: axes stored whole below each listed position.
        block: how many neighbours along each axis are stored as one; ones where none are.

    Example:
        >>> Layout(outer=(0,), compressed=(1,), inner=(), block=(1, 4)).order
        (0, 1, 2)
    """

    outer: tuple[int, ...]
    compressed: tuple[int, ...]
    inner: tuple[int, ...]
    block: tuple[int, ...]

    @property
    def axes(self) -> tuple[int, ...]:
        """The array's axes, in the order of the walk."""
        return self.outer + self.compressed + self.inner

    @property
    def blocked(self) -> tuple[int, ...]:
        """The axes that are split into blocks, in ascending order."""
        return tuple(axis for axis, size in enumerate(self.block) if size > 1)

    @property
    def order(self) -> tuple[int, ...]:
        """TFLite's traversal order: the axes, then one more number for each blocked one."""
        rank = len(self.block)
        return self.axes + tuple(range(rank, rank + len(self.blocked)))


@dataclasses.dataclass(frozen=True)
class Level:
    """One axis of the walk: dense with a size, or compressed with row starts and indices.

    Args:
        size: how many positions a dense level has; 0 for a compressed one.
        starts: where the indices of each position above begin, and where the last ones end.
        indices: positions along the axis.
    """

    size: int
    starts: Array | None = None
    indices: Array | None = None

    @property
    def nbytes(self) -> int:
        """What the lists of a compressed level take."""
        return sum(each.nbytes for each in (self.starts, self.indices) if each is not None)


@dataclasses.dataclass(frozen=True)
class SparseArray:
    """An array whose zeros are left out.

    Args:
        shape: of the array.
        order: of the walk; see `Layout.order`.
        blocked: the axes split into blocks, ascending.
        levels: one for each number of the order.
        values: what is stored, in the order of the walk.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    blocked: tuple[int, ...]
    levels: tuple[Level, ...]
    values: Array

    @property
    def nbytes(self) -> int:
        """Stored values and lists together."""
        return self.values.nbytes + sum(level.nbytes for level in self.levels)

    @property
    def block(self) -> tuple[int, ...]:
        """How many neighbours along each axis are stored as one."""
        rank, sizes = len(self.shape), [1] * len(self.shape)
        for place, axis in enumerate(self.blocked):
            sizes[axis] = self.levels[rank + place].size
        return tuple(sizes)


def encode(array: Array, layout: Layout) -> SparseArray:
    """Returns an array in a layout. Negative zeros are zeros.

    The cost grows with the array's size alone: one transposed copy and one pass over it.

    Args:
        array: of any rank from 1.
        layout: whose blocks divide the shape.

    Example:
        >>> sparse = encode(np.array([[0, 7, 0, 8]], np.int8), Layout((0,), (1,), (), (1, 1)))
        >>> sparse.values, sparse.levels[1].indices
        (array([7, 8], dtype=int8), array([1, 3], dtype=uint8))
    """
    walked = _split(array, layout)
    listed = len(layout.outer) + len(layout.compressed)
    sizes = walked.shape
    pieces = walked.reshape(*sizes[:listed], -1)
    kept = (pieces != 0).any(-1)
    levels = [Level(size) for size in sizes[: len(layout.outer)]]
    # Positions above, one row each; rows without a value disappear level by level.
    rows = kept.reshape(math.prod(sizes[: len(layout.outer)]), -1)
    for size in sizes[len(layout.outer) : listed]:
        rows = rows.reshape(len(rows), size, rows.shape[1] // size if rows.size else 1)
        present = rows.any(-1)
        starts = np.concatenate([[0], present.sum(-1).cumsum()])
        levels.append(Level(0, narrow(starts), narrow(np.nonzero(present)[1], size - 1)))
        rows = rows[present]
    levels += [Level(size) for size in sizes[listed:]]
    return SparseArray(
        array.shape, layout.order, layout.blocked, tuple(levels), pieces[kept].ravel()
    )


def decode(sparse: SparseArray) -> Array:
    """Returns the array with its zeros.

    Raises:
        ValueError: the levels do not fit one another, the shape or the number of values.
    """
    rank, full = len(sparse.shape), _check_levels(sparse)
    places = np.zeros(1, np.int64)  # of the walk so far, in the array split into blocks
    strides = [math.prod(full[axis + 1 :]) for axis in range(len(full))]
    for axis, level in zip(sparse.order, sparse.levels, strict=True):
        if level.starts is None or level.indices is None:
            steps, above = (
                np.tile(np.arange(full[axis]), len(places)),
                np.repeat(places, full[axis]),
            )
        else:
            counts: Array = np.diff(level.starts.astype(np.int64))
            steps = level.indices.astype(np.int64)
            if len(counts) != len(places) or counts.sum() != len(steps):
                raise ValueError(
                    f"{len(counts)} rows with {counts.sum()} indices over {len(places)} positions, "
                    f"and {len(steps)} indices stored; expected as many"
                )
            if steps.size and not 0 <= steps.min() <= steps.max() < full[axis]:
                raise ValueError(
                    f"positions from {steps.min()} to {steps.max()}; expected 0 to {full[axis] - 1}"
                )
            above = np.repeat(places, counts)
        places = above + steps * strides[axis]
    dense = np.zeros(math.prod(full), sparse.values.dtype)
    if len(places) != sparse.values.size:
        raise ValueError(f"{sparse.values.size} values for {len(places)} places; expected as many")
    dense[places] = sparse.values
    # [n / b, ..., b, ...] with the blocks last becomes [n / b, b, ...].
    axes: list[int] = []
    for axis in range(rank):
        axes.append(axis)
        if axis in sparse.blocked:
            axes.append(rank + sparse.blocked.index(axis))
    return dense.reshape(full).transpose(axes).reshape(sparse.shape)


def _check_levels(sparse: SparseArray) -> list[int]:
    """Returns the lengths of the axes and the blocks, or raises ValueError if they do not fit."""
    rank, shape = len(sparse.shape), sparse.shape
    count = rank + len(sparse.blocked)
    if sorted(sparse.order) != list(range(count)) or len(sparse.levels) != count:
        raise ValueError(
            f"order {sparse.order} over {len(sparse.levels)} levels; expected each once"
        )
    if list(sparse.blocked) != sorted({*sparse.blocked} & {*range(rank)}):
        raise ValueError(f"blocks along the axes {sparse.blocked}; expected some of {rank}")
    block = sparse.block
    if any(size < 1 or n % size for n, size in zip(shape, block, strict=True)):
        raise ValueError(f"blocks of {block}; expected such as divide {shape}")
    split = [n // size for n, size in zip(shape, block, strict=True)]
    return [*split, *(block[axis] for axis in sparse.blocked)]


def narrow(numbers: Array, largest: int | None = None) -> Array:
    """Returns whole numbers in the narrowest type that TFLite's index vectors have."""
    return numbers.astype(index_type(int(numbers.max(initial=0)) if largest is None else largest))


def index_type(largest: int) -> np.dtype[Any]:
    """Returns the narrowest of uint8, uint16 and int32 that holds a number."""
    return np.dtype(np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.int32)


def _split(array: Array, layout: Layout) -> Array:
    """Returns a view in the order of the walk, blocks as further axes at the end."""
    shape: list[int] = []
    first: list[int] = []  # where the axes, and the blocks, have come to stand
    second: list[int] = []
    for n, size in zip(array.shape, layout.block, strict=True):
        first.append(len(shape))
        shape.append(n // size)
        if size > 1:
            second.append(len(shape))
            shape.append(size)
    places: Sequence[int] = [first[axis] for axis in layout.axes] + second
    return array.reshape(shape).transpose(places)
