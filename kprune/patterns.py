"""Groups weights into pieces that are pruned together.

A pattern reads a kernel as a matrix [input, output], whatever its rank (`MatrixView`), and turns
the scores of weights into scores of pieces, which then compete like the scores of single weights.
If a pattern does not divide the shape, the last piece is smaller; nothing is padded.
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

__all__ = [
    "MEMBERS",
    "NM",
    "Block",
    "Channel",
    "MatrixView",
    "Pattern",
    "PatternName",
    "Unstructured",
    "get",
]


@dataclasses.dataclass(frozen=True)
class MatrixView:
    """Reads a kernel of any rank as a matrix [input, output].

    Args:
        shape: the kernel's shape.
        inputs: the axes that an output sums over, flattened in C order.
        outputs: the other axes, flattened in C order.

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
    """Says which weights are pruned together. Subclasses are frozen dataclasses.

    They implement `piece_scores` and `weight_mask`.

    Attributes:
        covers_inputs: whether a piece covers all inputs of an output, so that the scores of
            different outputs must be comparable.
        n_of_m: `(n, m)` if at most n of m consecutive inputs may stay, else `None`.
    """

    covers_inputs: ClassVar[bool] = False

    @property
    def n_of_m(self) -> tuple[int, int] | None:
        """How many of how many consecutive inputs may stay; `None` if that is not limited."""
        return None

    def block_shape(self, view: MatrixView) -> tuple[int, int] | None:
        """Rows and columns of the matrix that are pruned as one; `None` for single weights."""
        return None

    @abc.abstractmethod
    def piece_scores(self, scored: scores.ScoredTensor, view: MatrixView) -> scores.ScoredTensor:
        """Turns the scores of the weights into scores of the pieces."""

    @abc.abstractmethod
    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Turns a mask of pieces into a mask of weights, in the kernel's shape."""


@registration.register
@dataclasses.dataclass(frozen=True)
class Unstructured(Pattern):
    """Prunes every weight by itself.

    Use it for the best accuracy at a given sparsity, and for files that are small after
    compression. Most runtimes do not become faster by it.

    Example:
        >>> kprune.wrap(model, pattern="unstructured")
    """

    def piece_scores(self, scored: scores.ScoredTensor, view: MatrixView) -> scores.ScoredTensor:
        """Returns the scores as they are, in the kernel's own order."""
        return scored

    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Returns the mask as it is."""
        return pieces


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
        shape = self.shape if isinstance(self.shape, Sequence) else (self.shape,)
        if len(shape) != 2 or not all(isinstance(n, int) and n > 0 for n in shape):
            raise ValueError(
                f"shape={self.shape!r}; expected two positive whole numbers, weights along the "
                "input axis and along the output axis. Write Block((4, 1))."
            )
        _validate_pooling(self.pooling)
        object.__setattr__(self, "shape", tuple(shape))

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


@registration.register
@dataclasses.dataclass(frozen=True)
class NM(Pattern):
    """Keeps at most `n` weights of every `m` along the input axis.

    Use it for hardware with 2:4 sparsity, or to distribute the zeros evenly. The pattern follows a
    schedule: the weights that are not among the best `n` of their group are pruned first, in the
    order of their scores over all groups, and every group is `n:m` once the sparsity reaches
    1 - n/m. Beyond that the survivors are pruned by their scores, and the groups stay within
    `n:m`. A last group of r < m weights keeps its best `ceil(n * r / m)`.

    Args:
        n: how many weights may stay in a group.
        m: how many weights a group has.

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
        """The arguments `(n, m)`."""
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
        order = np.argsort(-groups, axis=1, kind="stable")  # of ties the lowest index first
        protected = np.zeros(groups.shape, bool)
        np.put_along_axis(protected, order[:, : self.n], True, axis=1)
        if rest := rows % self.m:
            protected[-1] = False
            best = order[-1, : math.ceil(self.n * rest / self.m)]
            np.put_along_axis(protected[-1], best, True, axis=0)
        protected = view.kernel(protected.reshape(-1, columns)[:rows])
        return dataclasses.replace(scored, scores=given, protected=protected)

    def weight_mask(self, pieces: Array, view: MatrixView) -> Array:
        """Returns the mask as it is."""
        return pieces


def _validate_pooling(pooling: object) -> None:
    if pooling not in ("mean", "max"):
        raise ValueError(f'pooling={pooling!r}; expected "mean" or "max". Write pooling="mean".')


def _resolve_eligible(scored: scores.ScoredTensor) -> Array | None:
    return scored.eligible() if callable(scored.eligible) else scored.eligible


def _pool(
    scored: scores.ScoredTensor, view: MatrixView, shape: tuple[int, int], pooling: str
) -> scores.ScoredTensor:
    """Pools scores over blocks of the matrix; the last ones may be smaller."""
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
    """Repeats a mask of blocks over the weights."""
    rows = math.prod(view.shape[axis] for axis in view.inputs)
    columns = math.prod(view.shape[axis] for axis in view.outputs)
    matrix = pieces.repeat(shape[0], axis=0)[:rows].repeat(shape[1], axis=1)[:, :columns]
    return view.kernel(matrix)


PatternName: TypeAlias = (
    Literal["unstructured", "channel", "tflite_float32", "tflite_dynamic", "tflite_int8"]
    | Literal["xnnpack_1x1", "1:2", "1:4", "2:4", "4:8"]
)

MEMBERS: dict[str, Callable[[], Pattern]] = {
    "unstructured": Unstructured,
    "channel": Channel,
    # The blocks that TFLite's kernels of fully connected layers read: 1x4 of [output, input] in
    # float32, 1x16 of int8 weights, with float or integer activations.
    "tflite_float32": lambda: Block((4, 1)),
    "tflite_dynamic": lambda: Block((16, 1)),
    "tflite_int8": lambda: Block((16, 1)),
    # XNNPACK's sparse 1x1 convolutions compute four outputs at a time.
    "xnnpack_1x1": lambda: Block((1, 4)),
    "2:4": lambda: NM(2, 4),
}


def get(identifier: Any) -> Pattern:
    """Returns the pattern that a name, an "n:m" string, a config or a pattern stands for.

    Args:
        identifier: a name among `MEMBERS`, "n:m" with any two numbers, a config, or a pattern.

    Raises:
        ValueError: the name is unknown.
        TypeError: it is none of these.

    Example:
        >>> kprune.patterns.get("2:4")
        NM(n=2, m=4)
    """
    if isinstance(identifier, str) and (ratio := re.fullmatch(r"(\d+):(\d+)", identifier)):
        return NM(int(ratio[1]), int(ratio[2]))
    return registration.resolve(identifier, Pattern, MEMBERS, "pattern")  # type: ignore[type-abstract]
