"""Gram matrices of the inputs of layers: `H = 2 sum_i x_i x_i^T / n`, in one pass over the data.

A layer `y = W^T x` that is to keep its outputs has the objective `sum_i |V^T x_i - W^T x_i|^2 / n`,
whose Hessian by each column of V is H; n counts samples, and a sample's positions (time steps,
places of an image) add up. Products are made in the precision of the data, some thousand rows at a
time, and summed as float64. The cost is `rows^2` multiplications for each position, half of that
with BLAS's symmetric product, and the memory `8 rows^2` bytes for each kernel.
"""

import dataclasses
from typing import Any

import numpy as np

from kprune.curvature import inputs

Array = np.ndarray[Any, Any]

PIECE = 4096  # rows multiplied at once


@dataclasses.dataclass(eq=False)
class Gram:
    """The Gram matrix of one kernel's inputs.

    Args:
        path: the kernel's path, for messages.
        rows: of the kernel's matrix [input, output].
        group: for each column of that matrix, its group of inputs.
        total: [group, rows, rows], or [rows] where H is diagonal; `None` before the first input.
        samples: how many samples, or what they weigh together.
    """

    path: str
    rows: int
    group: Array
    total: Array | None = None
    samples: float = 0.0

    @property
    def is_diagonal(self) -> bool:
        """Whether H is a diagonal: rows are looked up, or the layer cannot be read."""
        return self.total is not None and self.total.ndim == 1

    def hessian(self, group: int) -> Array:
        """Returns H of a group of columns, [rows, rows]."""
        total = self._total()
        scale = 2 / max(self.samples, np.finfo(float).tiny)
        return scale * (np.diag(total) if self.is_diagonal else total[group])

    def diagonal(self) -> Array:
        """Returns the diagonal of H for each column, [rows, columns]."""
        total = self._total()
        scale = 2 / max(self.samples, np.finfo(float).tiny)
        if self.is_diagonal:
            return np.repeat(scale * total[:, None], len(self.group), 1)
        return scale * np.diagonal(total, axis1=1, axis2=2)[self.group].T

    def __add__(self, other: "Gram") -> "Gram":
        """Returns the Gram matrix of the samples of both."""
        parts = [each.total for each in (self, other) if each.total is not None]
        total = sum(parts[1:], start=parts[0]) if parts else None
        samples = self.samples + other.samples
        return dataclasses.replace(self, total=total, samples=samples)

    def add(self, rows: inputs.Rows, weight: Array) -> None:
        """Takes the inputs of one call, with a weight for each position [samples, positions]."""
        values = np.asarray(rows.values)
        if values.dtype.kind in "iu":
            found = np.bincount(values.reshape(-1), weight.reshape(-1), minlength=self.rows)
            self._sum(found.astype(np.float64))
            return
        if rows.group is not None:
            self.group = rows.group
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float32)
        values = values.reshape(-1, *values.shape[2:])  # [position, group, row]
        if (weight != 1).any():
            values = values * np.sqrt(weight).astype(values.dtype).reshape(-1, 1, 1)
        for start in range(0, len(values), PIECE):
            piece = values[start : start + PIECE]
            if piece.shape[1] == 1:
                x = np.ascontiguousarray(piece[:, 0])
                self._sum((x.T @ x)[None])  # a product with its own transpose is BLAS's syrk
            else:
                x = piece.transpose(1, 0, 2)
                self._sum(x.transpose(0, 2, 1) @ x)

    def _sum(self, found: Array) -> None:
        if self.total is None:
            self.total = np.zeros(found.shape)
        self.total += found

    def _total(self) -> Array:
        if self.total is None:
            raise ValueError(
                f"The layer of {self.path} was not called with the calibration data; expected data "
                f"that reaches it. Write kprune.wrap(model, exclude={self.path!r})."
            )
        return self.total


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The Gram matrices of one kernel: of the samples to fit with, and of those held out."""

    fit: Gram
    held_out: Gram

    @property
    def whole(self) -> Gram:
        """Of all samples."""
        return self.fit + self.held_out

    @property
    def is_split(self) -> bool:
        """Whether there is something in both parts."""
        return self.fit.total is not None and self.held_out.total is not None

    @property
    def is_diagonal(self) -> bool:
        """Whether H is a diagonal."""
        return self.fit.is_diagonal
