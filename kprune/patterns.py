"""Patterns: what is cut as one piece.

A pattern sees a kernel as a matrix [input, output], whatever its rank (`MatrixView`), and turns the
scores of weights into the scores of pieces, which then compete like any others .
Shapes that a pattern does not divide end in a smaller last piece; nothing is padded or refused.
"""

import abc
import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from kprune._selection import scores
from kprune._support import registration
from kprune._support.typing import Array


@dataclasses.dataclass(frozen=True)
class MatrixView:
    """How a kernel of any rank is read as a matrix [input, output].

    Args:
        shape: the kernel's shape.
        inputs: the axes that an output sums over; flattened in this order, the last one fastest.
        outputs: the other axes.

    Example:
        >>> MatrixView((3, 3, 8, 16), (0, 1, 2), (3,)).matrix(np.zeros((3, 3, 8, 16))).shape
        (72, 16)
    """

    shape: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def matrix(self, kernel: Array) -> Array:
        """Returns the kernel as [input, output]."""
        rows = math.prod(self.shape[axis] for axis in self.inputs)
        return kernel.transpose(self.inputs + self.outputs).reshape(rows, -1)

    def kernel(self, matrix: Array) -> Array:
        """Returns the matrix in the kernel's own shape."""
        axes = self.inputs + self.outputs
        return matrix.reshape([self.shape[axis] for axis in axes]).transpose(np.argsort(axes))


class Pattern(registration.Member, abc.ABC):
    """What is pruned as one piece. Subclasses are frozen dataclasses that implement two methods.

    Attributes:
        covers_inputs: whether a piece covers all inputs of an output, so that scores must compare
            between outputs.
        n_of_m: `(n, m)` where at most n of m inputs in a row may stay, else `None`.
    """

    covers_inputs: ClassVar[bool] = False

    @property
    def n_of_m(self) -> tuple[int, int] | None:
        """How many of how many inputs in a row may stay; `None` where that is not limited."""
        return None

    @abc.abstractmethod
    def piece_scores(self, scored: scores.ScoredTensor, view: MatrixView) -> scores.ScoredTensor:
        """Turns a scored with a score for each weight into one with a score for each piece."""

    @abc.abstractmethod
    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Turns the mask of the pieces into the mask of the weights, in the kernel's shape."""


@registration.register
@dataclasses.dataclass(frozen=True)
class Unstructured(Pattern):
    """Every weight by itself.

    Use it for the best accuracy at a given sparsity, and for files that are small after
    compression. Stock runtimes are not faster for it.

    Example:
        >>> kprune.wrap(model, pattern="unstructured")
    """

    def piece_scores(self, scored: scores.ScoredTensor, view: MatrixView) -> scores.ScoredTensor:
        """Leaves the scores as they are, in the kernel's own order."""
        return scored

    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Leaves the mask as it is."""
        return pieces


@registration.register
@dataclasses.dataclass(frozen=True)
class Block(Pattern):
    """Rectangles of the matrix [input, output].

    Use it where a kernel of the runtime reads whole blocks, as TFLite's fully connected ones do.
    The score of a block is the mean, or the greatest, score of its weights that are still there.
    Where the shape does not divide the matrix, the last block of a row or column is smaller and
    competes with the mean of what it has. A cut falls on whole blocks: the number of zeros is
    the nearest to the wanted one that blocks allow.

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
        shape = self.shape if isinstance(self.shape, Sequence) else (self.shape,)
        if len(shape) != 2 or not all(isinstance(n, int) and n > 0 for n in shape):
            raise ValueError(
                f"shape={self.shape!r}; expected two positive whole numbers, weights along the "
                "input axis and along the output axis. Write Block((4, 1))."
            )
        if self.pooling not in ("mean", "max"):
            raise ValueError(
                f'pooling={self.pooling!r}; expected "mean" or "max". Write pooling="mean".'
            )
        object.__setattr__(self, "shape", tuple(shape))

    def piece_scores(self, scored: scores.ScoredTensor, view: MatrixView) -> scores.ScoredTensor:
        """Pools the scores of each block over the weights that are still eligible."""
        return _pool(scored, view, self.shape, self.pooling)

    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Repeats each block's fate over its weights."""
        return _repeat_blocks(pieces, view, self.shape)


@registration.register
@dataclasses.dataclass(frozen=True)
class Channel(Pattern):
    """Whole output channels: columns of the matrix [input, output].

    Use it to find units that can be removed from the network altogether. The bias of a unit is
    not pruned with it. The score of a channel is the mean, or the greatest, score of its weights.

    Args:
        pooling: "mean" or "max".

    Example:
        >>> kprune.wrap(model, include="dense", pattern="channel")
    """

    covers_inputs: ClassVar[bool] = True
    pooling: Literal["mean", "max"] = "mean"

    def piece_scores(self, scored: scores.ScoredTensor, view: MatrixView) -> scores.ScoredTensor:
        """Pools the scores of each column."""
        return _pool(scored, view, self._shape(view), self.pooling)

    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Repeats each channel's fate down its column."""
        return _repeat_blocks(pieces, view, self._shape(view))

    def _shape(self, view: MatrixView) -> tuple[int, int]:
        return max(1, math.prod(view.shape[axis] for axis in view.inputs)), 1


@registration.register
@dataclasses.dataclass(frozen=True)
class NM(Pattern):
    """At most `n` weights left of every `m` along the input axis.

    Use it for hardware with 2:4 sparsity, or to spread the zeros evenly. The pattern follows a
    schedule: the weights beyond the best `n` of their group fall first, in the order of their
    scores over all groups, and every group is `n:m` once the sparsity reaches 1 - n/m. Beyond that
    the survivors fall by their scores, and the groups stay within `n:m`. A last group of r < m
    weights keeps its best `ceil(n * r / m)`.

    Args:
        n: weights that may stay in a group.
        m: weights in a group.

    Raises:
        ValueError: not 0 < n < m.

    Example:
        >>> kprune.wrap(model, pattern=kprune.patterns.NM(2, 4))        # or pattern="2:4"

    Reference:
        Mishra et al., Accelerating Sparse Deep Neural Networks, 2021.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not (isinstance(self.n, int) and isinstance(self.m, int) and 0 < self.n < self.m):
            raise ValueError(
                f"NM(n={self.n!r}, m={self.m!r}); expected whole numbers with 0 < n < m, n weights "
                "kept of every m. Write NM(2, 4)."
            )

    @property
    def n_of_m(self) -> tuple[int, int]:
        """The pattern's own numbers."""
        return self.n, self.m

    def piece_scores(self, scored: scores.ScoredTensor, view: MatrixView) -> scores.ScoredTensor:
        """Protects the best `n` of each group; every weight keeps its own score."""
        given = np.asarray(scored.scores)
        matrix = view.matrix(given).astype(np.float64)  # [input, output]
        if (eligible := _resolve_eligible(scored)) is not None:
            matrix[~view.matrix(eligible)] = -np.inf
        rows, columns = matrix.shape
        padded = np.full((-(-rows // self.m) * self.m, columns), -np.inf)
        padded[:rows] = matrix
        groups = padded.reshape(-1, self.m, columns)  # [group, m, output]
        order = np.argsort(-groups, axis=1, kind="stable")  # the lowest index first among ties
        protected = np.zeros(groups.shape, bool)
        np.put_along_axis(protected, order[:, : self.n], True, axis=1)
        if rest := rows % self.m:
            protected[-1] = False
            best = order[-1, : math.ceil(self.n * rest / self.m)]
            np.put_along_axis(protected[-1], best, True, axis=0)
        protected = view.kernel(protected.reshape(-1, columns)[:rows])
        return dataclasses.replace(scored, scores=given, protected=protected)

    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Leaves the mask as it is."""
        return pieces


def _resolve_eligible(scored: scores.ScoredTensor) -> Array | None:
    return scored.eligible() if callable(scored.eligible) else scored.eligible


def _pool(
    scored: scores.ScoredTensor, view: MatrixView, shape: tuple[int, int], pooling: str
) -> scores.ScoredTensor:
    """Pools a scored over blocks of the matrix, the last ones smaller where it does not divide."""
    matrix = view.matrix(np.asarray(scored.scores)).astype(np.float64)
    eligible = _resolve_eligible(scored)
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
    """Spreads a mask of blocks over the matrix."""
    rows = math.prod(view.shape[axis] for axis in view.inputs)
    columns = math.prod(view.shape[axis] for axis in view.outputs)
    matrix = pieces.repeat(shape[0], axis=0)[:rows].repeat(shape[1], axis=1)[:, :columns]
    return view.kernel(matrix)


PatternName: TypeAlias = (
    Literal["unstructured", "channel", "tflite_float32", "tflite_dynamic", "tflite_int8"]
    | Literal["xnnpack_1x1", "2:4"]
    | str  # "n:m"
)

MEMBERS: dict[str, Callable[[], Pattern]] = {
    "unstructured": Unstructured,
    "channel": Channel,
    # What TFLite's kernels of fully connected layers read whole: 1x4 of [output, input] in float32,
    # 1x16 where the weights are int8, with float or integer activations.
    "tflite_float32": lambda: Block((4, 1)),
    "tflite_dynamic": lambda: Block((16, 1)),
    "tflite_int8": lambda: Block((16, 1)),
    # XNNPACK's sparse 1x1 convolutions take outputs four at a time.
    "xnnpack_1x1": lambda: Block((1, 4)),
    "2:4": lambda: NM(2, 4),
}


def get(identifier: Any) -> Pattern:
    """Returns the pattern that a name, an "n:m" string, a config or a pattern stands for."""
    if isinstance(identifier, str) and (ratio := re.fullmatch(r"(\d+):(\d+)", identifier)):
        return NM(int(ratio[1]), int(ratio[2]))
    return registration.resolve(identifier, Pattern, MEMBERS, "pattern")  # type: ignore[type-abstract]
