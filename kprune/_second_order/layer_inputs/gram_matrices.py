"""Gram matrices of the inputs of layers: `H = 2 sum_i x_i x_i^T / n`, in one pass over the data.

A layer `y = W^T x` that is to keep its outputs has the objective `sum_i |V^T x_i - W^T x_i|^2 / n`,
whose Hessian by each column of V is H; n counts samples, and a sample's positions (time steps,
places of an image) add up. Products are made in the precision of the data, some thousand rows at a
time, and summed as float64. The cost is `rows^2` multiplications for each position, half of that
with BLAS's symmetric product, and the memory `8 rows^2` bytes for each kernel.

Where layers before this one have been pruned, x is what it gets now, and X what it got before; to
keep the outputs of the dense model, `sum_i |V^T x_i - W^T X_i|^2 / n`, takes their products too,
`C = 2 sum_i x_i X_i^T / n`.
"""

import dataclasses

import numpy as np

from kprune._second_order.layer_inputs import readers
from kprune._support import threads
from kprune._support.typing import Array

MIN_POSITIONS, MAX_POSITIONS = 512, 2048  # positions multiplied at once


@dataclasses.dataclass(eq=False)
class Gram:
    """The Gram matrix of one kernel's inputs.

    Args:
        path: the kernel's path, for messages.
        rows: of the kernel's matrix [input, output].
        group: for each column of that matrix, its group of inputs.
        total: [group, rows, rows], or [rows] where H is diagonal; `None` before the first input.
        cross_total: the same for products of the present inputs with the earlier ones; `None` if
            there are no earlier ones.
        samples: how many samples, or what they weigh together.
    """

    path: str
    rows: int
    group: Array
    total: Array | None = None
    cross_total: Array | None = None
    samples: float = 0.0

    @property
    def is_diagonal(self) -> bool:
        """Whether H is a diagonal: rows are looked up, or the layer cannot be read."""
        return self.total is not None and self.total.ndim == 1

    @property
    def scale(self) -> float:
        """From sums to H."""
        return 2 / max(self.samples, float(np.finfo(float).tiny))

    def hessian(self, group: int) -> Array:
        """Returns H of a group of columns, [rows, rows]."""
        total = self._require_total()
        return self.scale * (np.diag(total) if self.is_diagonal else total[group])

    def cross(self, group: int) -> Array:
        """Returns C of a group of columns, [rows, rows]: H itself where nothing was before."""
        return (
            self.hessian(group)
            if self.cross_total is None
            else self.scale * self.cross_total[group]
        )

    def diagonal(self) -> Array:
        """Returns the diagonal of H for each column, [rows, columns]."""
        total = self._require_total()
        if self.is_diagonal:
            return np.repeat(self.scale * total[:, None], len(self.group), 1)
        return self.scale * np.diagonal(total, axis1=1, axis2=2)[self.group].T

    def __add__(self, other: "Gram") -> "Gram":
        """Returns the Gram matrix of the samples of both."""
        return dataclasses.replace(
            self,
            total=_add_optional(self.total, other.total),
            cross_total=_add_optional(self.cross_total, other.cross_total),
            samples=self.samples + other.samples,
        )

    def add(self, rows: readers.Rows, weight: Array, before: readers.Rows | None = None) -> None:
        """Takes the inputs of one call.

        Args:
            rows: what the kernel is multiplied with.
            weight: of each position, [samples, positions].
            before: what it was multiplied with before other layers were pruned.
        """
        values = np.asarray(rows.values)
        if values.dtype.kind in "iu":
            found = np.bincount(values.reshape(-1), weight.reshape(-1), minlength=self.rows)
            self.total = _add_optional(self.total, found.astype(np.float64))
            return
        if rows.group is not None:
            self.group = rows.group
        x = _apply_weights(values, weight)
        self.total = _add_products(self.total, x, x)
        if before is not None:
            y = _apply_weights(np.asarray(before.values), weight)
            self.cross_total = _add_products(self.cross_total, x, y)

    def _require_total(self) -> Array:
        if self.total is None:
            raise ValueError(
                f"The layer of {self.path} was not called with the calibration data; expected data "
                f"that reaches it. Write kprune.wrap(model, exclude={self.path!r})."
            )
        return self.total


@dataclasses.dataclass(frozen=True, eq=False)
class SplitGram:
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


def _add_optional(one: Array | None, other: Array | None) -> Array | None:
    return other if one is None else one if other is None else one + other


def _apply_weights(values: Array, weight: Array) -> Array:
    """Rows [position, group, row], each by the root of its weight."""
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32)
    values = values.reshape(-1, *values.shape[2:])
    if (weight != 1).any():
        values = values * np.sqrt(weight).astype(values.dtype).reshape(-1, 1, 1)
    return values


def _add_products(total: Array | None, x: Array, y: Array) -> Array:
    """Adds `sum x y^T` over positions for each group to a total [group, rows, rows] in place."""
    positions, groups, rows = x.shape
    if total is None:
        total = np.zeros((groups, rows, rows))
    # A piece for each core at least, but none so small that to add it takes longer than to make it.
    piece = min(MAX_POSITIONS, max(MIN_POSITIONS, -(-positions // threads.CORES)))

    def product(start: int) -> Array:
        here = slice(start, start + piece)
        if groups > 1:
            left, right = x[here].transpose(1, 2, 0), y[here].transpose(1, 0, 2)
            return left @ right
        left = np.ascontiguousarray(x[here, 0])
        # A product with its own transpose is BLAS's syrk, half the work.
        right = left if y is x else np.ascontiguousarray(y[here, 0])
        return (left.T @ right)[None]

    for found in threads.map_parallel(product, range(0, positions, piece)):
        total += found
    return total
