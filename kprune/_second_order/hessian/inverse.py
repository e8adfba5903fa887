"""Inverts a curvature `alpha I + sum r r^T / n`, one factor r after another."""

from typing import Any

import numpy as np

from kprune._support import memory
from kprune._support.typing import Array

FACTORS_PER_UPDATE = 64  # how many factors update the inverse at once


class BlockInverses:
    """Inverts each diagonal block of `alpha I + sum r r^T`, without forming the matrix.

    Use it for blocks of up to some thousand weights; one block of all weights is the full inverse
    of Optimal Brain Surgeon. Each factor is an update of rank one,

    `M <- M - M r r^T M / (1 + r^T M r)`,  starting from  `M = I / alpha`,

    and several are one update of higher rank by Woodbury's identity, which gives the same inverse
    by products of matrices. The cost is `2 m b` multiplications for each entry of the inverse, m
    the number of factors and b the size of a block, and no memory beyond the inverse itself.

    Args:
        blocks: the number of blocks.
        size: b, how many weights a block has.
        alpha: what is added to the diagonal, greater than 0.

    Example:
        >>> r = np.random.default_rng(0).standard_normal((5, 1, 3))
        >>> inverses = BlockInverses(1, 3, alpha=0.1)
        >>> inverses.add(r)
        >>> np.allclose(inverses.inverse[0] @ (0.1 * np.eye(3) + r[:, 0].T @ r[:, 0]), np.eye(3))
        True

    Reference:
        Hassibi and Stork, Second order derivatives for network pruning: Optimal Brain Surgeon,
        1993; Singh and Alistarh, WoodFisher, 2020, by blocks.
    """

    def __init__(self, blocks: int, size: int, alpha: float) -> None:
        self.alpha = alpha
        self.inverse = np.tile(np.eye(size) / alpha, (blocks, 1, 1))

    def add(self, factors: Array) -> None:
        """Adds factors [factors, blocks, b]."""
        for start in range(0, len(factors), FACTORS_PER_UPDATE):
            rows = factors[start : start + FACTORS_PER_UPDATE].astype(np.float64).transpose(1, 0, 2)
            moved = rows @ self.inverse  # [block, factor, b]
            inner = np.eye(rows.shape[1]) + moved @ rows.transpose(0, 2, 1)
            self.inverse -= moved.transpose(0, 2, 1) @ np.linalg.solve(inner, moved)

    def compute_inverse(self, alpha: float, samples: float = 1.0) -> Array:
        """Returns the inverses of `alpha I + sum r r^T / samples`, [blocks, b, b].

        With `D = samples * alpha - self.alpha` it is `samples * M (I + D M)^-1`.

        Raises:
            ValueError: a block is singular, which happens if alpha is nearly zero.
        """
        moved = np.eye(self.inverse.shape[1]) + (samples * alpha - self.alpha) * self.inverse
        try:
            inverse: Array = samples * np.linalg.solve(moved, self.inverse)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                f"The curvature of a block of {len(moved[0])} weights is singular; expected a "
                'positive one, for which damping is needed. Write damping="auto" or damping=0.01.'
            ) from error
        return (inverse + inverse.transpose(0, 2, 1)) / 2


class CurvatureRoot:
    """Holds a curvature `sum r r^T / n` as a matrix R of few rows with `R^T R` equal to it.

    Factors are collected. If there are more of them than weights, a QR decomposition reduces them
    to as many rows as weights, so R takes at most the memory of a square matrix.

    Args:
        size: how many weights there are.

    Raises:
        MemoryError: by `add`, if the factors take more than half of the machine's memory.

    Example:
        >>> root = CurvatureRoot(3)
        >>> root.add(np.ones((10, 3)))
        >>> matrix = root.matrix(samples=10)
        >>> np.allclose(matrix.T @ matrix, np.ones((3, 3)))
        True
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._rows: list[Array] = []
        self._count = 0

    def add(self, factors: Array) -> None:
        """Adds factors [factors, weights]."""
        rows = min(self._count + len(factors), 2 * self.size)
        memory.require(
            rows * self.size * factors.itemsize,
            f"{rows:,} factors of the curvature of {self.size:,} weights",
            'Use fewer samples, or write hessian="block" or hessian="layerwise".',
        )
        self._rows.append(factors)
        self._count += len(factors)
        if self._count > 2 * self.size:
            self._rows = [_triangularize(np.concatenate(self._rows))]
            self._count = len(self._rows[0])

    def merge(self, other: "CurvatureRoot") -> "CurvatureRoot":
        """Returns the root of the factors of both."""
        both = CurvatureRoot(self.size)
        for rows in (*self._rows, *other._rows):
            both.add(rows)
        return both

    def matrix(self, samples: float) -> Array:
        """Returns R [rows, weights], at most as many rows as weights."""
        rows = np.concatenate(self._rows) if self._rows else np.zeros((0, self.size))
        if len(rows) > self.size:
            rows = _triangularize(rows)
        return rows / np.sqrt(np.asarray(samples, rows.dtype))


def _triangularize(rows: Array) -> Array:
    """Returns the square R of a QR decomposition, with the same `R^T R` as the rows."""
    triangle: Any = np.linalg.qr(rows.astype(np.float64), mode="r")
    return triangle  # type: ignore[no-any-return]
