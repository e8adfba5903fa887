"""Inverses of a curvature `alpha I + sum r r^T / n`, built from its factors r as they come."""

from typing import Any

import numpy as np

from kprune._support import memory
from kprune._support.typing import Array

FACTORS_PER_UPDATE = 64  # factors that enter the inverses at once


class BlockInverses:
    """The inverse of each diagonal block of `alpha I + sum r r^T`, without ever forming that.

    Use it for blocks of up to some thousand weights; one block of all the weights is the full
    inverse of Optimal Brain Surgeon. Factors enter one after another,

    `M <- M - M r r^T M / (1 + r^T M r)`,  beginning from  `M = I / alpha`,

    and several at once by the same identity of Woodbury's, which gives the same inverse for one
    product of matrices. The cost is `2 m b` multiplications for each entry of the inverse over all
    m factors, b the size of a block, and no memory beyond the inverse itself.

    Args:
        blocks: how many there are.
        size: b, weights in a block.
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
        """Takes factors [factors, blocks, b]."""
        for start in range(0, len(factors), FACTORS_PER_UPDATE):
            rows = factors[start : start + FACTORS_PER_UPDATE].astype(np.float64).transpose(1, 0, 2)
            moved = rows @ self.inverse  # [block, factor, b]
            inner = np.eye(rows.shape[1]) + moved @ rows.transpose(0, 2, 1)
            self.inverse -= moved.transpose(0, 2, 1) @ np.linalg.solve(inner, moved)

    def compute_inverse(self, alpha: float, samples: float = 1.0) -> Array:
        """Returns the inverses of `alpha I + sum r r^T / samples`, [blocks, b, b].

        With `D = samples * alpha - self.alpha` it is `samples * M (I + D M)^-1`.

        Raises:
            ValueError: a block is singular, which only an alpha next to zero leaves it.
        """
        moved = np.eye(self.inverse.shape[1]) + (samples * alpha - self.alpha) * self.inverse
        try:
            found: Array = samples * np.linalg.solve(moved, self.inverse)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                f"The curvature of a block of {len(moved[0])} weights is singular; expected a "
                'positive one, which damping makes it. Write damping="auto" or damping=0.01.'
            ) from error
        return (found + found.transpose(0, 2, 1)) / 2


class CurvatureRoot:
    """A curvature `sum r r^T / n` as a matrix R with `R^T R` equal to it, of few rows.

    Factors are collected; where they outnumber the weights, a QR decomposition brings them down to
    as many rows as there are weights, so the memory is at most that of a square matrix.

    Args:
        size: how many weights there are.

    Raises:
        MemoryError: when factors are added, they take more than half of the machine's memory.

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
        """Takes factors [factors, weights]."""
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
    """The square R of a QR decomposition: `R^T R` is that of the rows."""
    found: Any = np.linalg.qr(rows.astype(np.float64), mode="r")
    return found  # type: ignore[no-any-return]
