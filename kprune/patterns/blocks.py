"""Prunes rectangles of the matrix [input, output], and whole columns of it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from kprune._selection import scores
from kprune._support import registration, validation
from kprune._support.typing import Array
from kprune.patterns.matrix_view import MatrixView
from kprune.patterns.pattern import Pattern

__all__ = ["Block", "Channel"]


@registration.register
@dataclasses.dataclass(frozen=True)
class Block(Pattern):
    """Prunes rectangles of the matrix [input, output].

    Use it if the kernels of the runtime read whole blocks, as those of TFLite's fully connected
    layers do. The score of a block is the mean, or the greatest, score of its surviving weights.
    If the shape does not divide the matrix, the last block of a row or column is smaller and
    competes with the mean of the weights that it has. Whole blocks are pruned: the number of zeros
    is the nearest one to the given number that blocks allow.

    Args:
        shape: rows and columns of a block, in weights: (4, 1) is four along the input axis.
        pooling: "mean" or "max".

    Raises:
        ValueError: the shape is not two positive whole numbers, or the pooling is unknown.

    Example:
        >>> kprune.wrap(model, pattern=kprune.patterns.Block((4, 1)))
    """

    shape: tuple[int, int]
    pooling: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        listed = isinstance(self.shape, Sequence) and not isinstance(self.shape, str)
        shape = self.shape if listed else (self.shape,)
        if len(shape) != 2 or not all(validation.is_whole(n) and n > 0 for n in shape):
            raise ValueError(
                f"shape={validation.describe(self.shape)}; expected two positive whole numbers, "
                "weights along the input axis and along the output axis. Write Block((4, 1))."
            )
        _validate_pooling(self.pooling)
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))

    def block_shape(self, view: MatrixView) -> tuple[int, int]:
        """The argument `shape`."""
        return self.shape

    def piece_scores(self, scored: scores.ScoredTensor, view: MatrixView) -> scores.ScoredTensor:
        """Pools the scores of each block over the weights that are still eligible."""
        return _pool(scored, view, self.shape, self.pooling)

    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Repeats the mask of each block over its weights."""
        return _repeat_blocks(pieces, view, self.shape)


@registration.register
@dataclasses.dataclass(frozen=True)
class Channel(Pattern):
    """Prunes whole output channels: columns of the matrix [input, output].

    Use it to find units that can be removed from the network. The bias of a unit is not pruned
    with it. The score of a channel is the mean, or the greatest, score of its weights.

    Args:
        pooling: "mean" or "max".

    Raises:
        ValueError: the pooling is unknown.

    Example:
        >>> kprune.wrap(model, include="dense", pattern="channel")
    """

    covers_inputs: ClassVar[bool] = True
    pooling: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        _validate_pooling(self.pooling)

    def block_shape(self, view: MatrixView) -> tuple[int, int]:
        """All rows of one column."""
        return max(1, math.prod(view.shape[axis] for axis in view.inputs)), 1

    def piece_scores(self, scored: scores.ScoredTensor, view: MatrixView) -> scores.ScoredTensor:
        """Pools the scores of each column."""
        return _pool(scored, view, self.block_shape(view), self.pooling)

    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Repeats the mask of each channel over its column."""
        return _repeat_blocks(pieces, view, self.block_shape(view))


def _validate_pooling(pooling: object) -> None:
    validation.require_choice(pooling, "pooling", ("mean", "max"))


def _pool(
    scored: scores.ScoredTensor, view: MatrixView, shape: tuple[int, int], pooling: str
) -> scores.ScoredTensor:
    """Pools scores over blocks of the matrix; the last ones may be smaller."""
    matrix = view.matrix(np.asarray(scored.scores)).astype(np.float64)
    eligible = scored.read_eligible()
    alive = np.ones(matrix.shape, bool) if eligible is None else view.matrix(eligible)
    rows, columns = (np.arange(0, n, b) for n, b in zip(matrix.shape, shape, strict=True))

    def reduce(ufunc: np.ufunc, values: Array) -> Array:
        return ufunc.reduceat(ufunc.reduceat(values, rows, axis=0), columns, axis=1)  # type: ignore[no-any-return]

    sizes = reduce(np.add, alive.astype(np.int64))
    if pooling == "max":
        pooled = reduce(np.maximum, np.where(alive, matrix, -np.inf))
    else:
        pooled = reduce(np.add, np.where(alive, matrix, 0)) / np.maximum(sizes, 1)
    return dataclasses.replace(scored, scores=pooled, eligible=sizes > 0, sizes=sizes)


def _repeat_blocks(pieces: Array, view: MatrixView, shape: tuple[int, int]) -> Array:
    """Repeats a mask of blocks over the weights."""
    rows = math.prod(view.shape[axis] for axis in view.inputs)
    columns = math.prod(view.shape[axis] for axis in view.outputs)
    matrix = pieces.repeat(shape[0], axis=0)[:rows].repeat(shape[1], axis=1)[:, :columns]
    return view.kernel(matrix)
