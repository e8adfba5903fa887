"""Finds the smallest sparse encoding of an array by counting bytes."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from kprune._support.typing import Array
from kprune.export._tflite.format import sparse_array
from kprune.export._tflite.format.sparse_array import Layout, SparseArray

BLOCKS = (2, 4, 8, 16, 32)  # neighbours stored as one
MAX_RANK = 6  # with one more axis there are twice as many layouts


def smallest(array: Array) -> SparseArray | None:
    """Returns the smallest encoding of an array, or `None` where the array itself is no larger.

    Every layout is counted and one is built. Layouts differ in which axis is compressed, in a
    second compressed axis above it, in axes stored whole below, and in blocks of 2 to 32 along an
    axis or a pair of axes. The cost grows with the size of the array times the number of masks that
    are counted, some 20 for a matrix and 50 for a convolution: 100 MB take about two seconds.

    Args:
        array: weights. With more than six axes they stay dense.

    Example:
        >>> smallest(np.eye(64, dtype="float32")).nbytes  # 64 values, 64 indices, 65 row starts
        385
        >>> smallest(np.ones((64, 64), "float32"))
    """
    if not 0 < array.ndim <= MAX_RANK or array.size == 0:
        return None
    best, layout = min(_sizes(array), key=lambda pair: pair[0], default=(array.nbytes, None))
    if layout is None or best >= array.nbytes:
        return None
    return sparse_array.encode(array, layout)


def _sizes(array: Array) -> Iterator[tuple[int, Layout]]:
    """Yields the bytes of every layout with the layout."""
    nonzero = array != 0
    rank = array.ndim
    for inner in _subsets([axis for axis, n in enumerate(array.shape) if n > 1]):
        whole = math.prod(array.shape[axis] for axis in inner)
        yield from _levels(nonzero.any(inner), inner, (1,) * rank, whole * array.itemsize)
    for block in _blocks(array.shape):
        kept = _any_in_blocks(nonzero, block)
        yield from _levels(kept, (), block, math.prod(block) * array.itemsize)


def _levels(
    kept: Array, inner: tuple[int, ...], block: tuple[int, ...], piece: int
) -> Iterator[tuple[int, Layout]]:
    """Yields the layouts that store the same pieces, with one compressed axis and with two.

    Args:
        kept: which pieces are stored, over the axes that are not inner ones.
        inner: the axes stored whole.
        block: the block's shape.
        piece: bytes of a piece.
    """
    axes = [axis for axis in range(len(block)) if axis not in inner]
    count = int(np.count_nonzero(kept))
    for place, axis in enumerate(axes):
        size = kept.shape[place]
        if size == 1:
            continue  # nothing to list
        rows = kept.size // size
        values = count * (piece + _width(size - 1))
        outer = tuple(each for each in axes if each != axis)
        yield values + (rows + 1) * _width(count), Layout(outer, (axis,), inner, block)
        if len(axes) == 1:
            continue
        present = int(np.count_nonzero(kept.any(place)))  # rows that have a value at all
        for above in outer:
            length = kept.shape[axes.index(above)]
            if length == 1:
                continue
            lists = present * _width(length - 1) + (rows // length + 1) * _width(present)
            rest = tuple(each for each in outer if each != above)
            total = values + lists + (present + 1) * _width(count)
            yield total, Layout(rest, (above, axis), inner, block)


def _subsets(axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yields which axes may be stored whole: all sets but the full one."""
    for count in range(len(axes)):
        yield from itertools.combinations(axes, count)


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yields blocks that divide a shape: along each axis, and square ones over the longest two."""
    for size in BLOCKS:
        fits = [axis for axis, n in enumerate(shape) if n % size == 0]
        for axis in fits:
            yield tuple(size if each == axis else 1 for each in range(len(shape)))
        longest = sorted(range(len(shape)), key=lambda axis: -shape[axis])[:2]
        if len(longest) == 2 and set(longest) <= set(fits):
            yield tuple(size if each in longest else 1 for each in range(len(shape)))


def _any_in_blocks(nonzero: Array, block: tuple[int, ...]) -> Array:
    """Returns which blocks hold a value."""
    for axis, size in enumerate(block):
        if size > 1:
            before, after = nonzero.shape[:axis], nonzero.shape[axis + 1 :]
            pieces = nonzero.reshape(*before, nonzero.shape[axis] // size, size, *after)
            nonzero = np.asarray(pieces.any(axis + 1))
    return nonzero


def _width(largest: int) -> int:
    return sparse_array.index_type(largest).itemsize
