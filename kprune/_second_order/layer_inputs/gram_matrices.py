"""Accumulates Gram matrices of layer inputs, `H = 2 sum_i x_i x_i^T / n`, in one pass.

The squared error of the outputs of a layer `y = W^T x` is `sum_i |V^T x_i - W^T x_i|^2 / n`, whose
Hessian by each column of V is H; n counts samples, and the positions of a sample (time steps,
pixels of an image) are summed. Products are computed in the precision of the data, some thousand
rows at a time, and summed as float64. The cost is `rows^2` multiplications for each position, half
of that with BLAS's symmetric product, and the memory is `8 rows^2` bytes for each kernel.

If layers before this one have been pruned, x is its present input and X its input in the dense
model. The error of the dense model's outputs, `sum_i |V^T x_i - W^T X_i|^2 / n`, also needs their
products, `C = 2 sum_i x_i X_i^T / n`.
"""

import dataclasses

import numpy as np

from kprune._second_order.layer_inputs import readers
from kprune._support import threads
from kprune._support.typing import Array

MIN_POSITIONS, MAX_POSITIONS = 512, 2048  # how many positions are multiplied at once


@dataclasses.dataclass(eq=False)
class Gram:
    """Accumulates the Gram matrix of one kernel's inputs.

    Args:
        path: the kernel's path, for messages.
        rows: how many rows the kernel's matrix [input, output] has.
        group: for each column of that matrix, its group of inputs.
        total: [group, rows, rows], or [rows] if H is diagonal; `None` before the first input.
        cross_total: the same for products of the present inputs with the earlier ones; `None` if
            there are no earlier ones.
        samples: how many samples there were, or the sum of their weights.
    """

    path: str
    rows: int
    group: Array
    total: Array | None = None
    cross_total: Array | None = None
    samples: float = 0.0

    @property
    def is_diagonal(self) -> bool:
        """Whether H is diagonal: rows are looked up, or the inputs are not known."""
        return self.total is not None and self.total.ndim == 1

    @property
    def scale(self) -> float:
        """The factor from sums to H."""
        return 2 / max(self.samples, float(np.finfo(float).tiny))

    def hessian(self, group: int) -> Array:
        """Returns H of a group of columns, [rows, rows]."""
        total = self._require_total()
        return self.scale * (np.diag(total) if self.is_diagonal else total[group])

    def cross(self, group: int) -> Array:
        """Returns C of a group of columns, [rows, rows]; it is H if there are no earlier inputs."""
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
        """Adds the inputs of one call of the layer.

        Args:
            rows: the inputs of the kernel.
            weight: the weight of each position, [samples, positions].
            before: the inputs in the dense model, if other layers have been pruned.
        """
        values = np.asarray(rows.values)
        if values.dtype.kind in "iu":
            counts = np.bincount(values.reshape(-1), weight.reshape(-1), minlength=self.rows)
            self.total = _add_optional(self.total, counts.astype(np.float64))
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
    """Holds two Gram matrices of one kernel: of the samples to fit, and of those held out."""

    fit: Gram
    held_out: Gram

    @property
    def whole(self) -> Gram:
        """The Gram matrix of all samples."""
        return self.fit + self.held_out

    @property
    def is_split(self) -> bool:
        """Whether both parts have samples."""
        return self.fit.total is not None and self.held_out.total is not None

    @property
    def is_diagonal(self) -> bool:
        """Whether H is diagonal."""
        return self.fit.is_diagonal


def _add_optional(one: Array | None, other: Array | None) -> Array | None:
    return other if one is None else one if other is None else one + other


def _apply_weights(values: Array, weight: Array) -> Array:
    """Returns rows [position, group, row], each multiplied by the root of its weight."""
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32)
    values = values.reshape(-1, *values.shape[2:])
    if (weight != 1).any():
        values = values * np.sqrt(weight).astype(values.dtype).reshape(-1, 1, 1)
    return values


def _add_products(total: Array | None, x: Array, y: Array) -> Array:
    """Adds `sum x y^T` over positions for each group to a total [group, rows, rows], in place."""
    positions, groups, rows = x.shape
    if total is None:
        total = np.zeros((groups, rows, rows))
    # At least a piece for each core, but none for which adding takes longer than multiplying.
    size = min(MAX_POSITIONS, max(MIN_POSITIONS, -(-positions // threads.CORES)))

    def multiply(start: int) -> Array:
        piece = slice(start, start + size)
        if groups > 1:
            left, right = x[piece].transpose(1, 2, 0), y[piece].transpose(1, 0, 2)
            return left @ right
        left = np.ascontiguousarray(x[piece, 0])
        # A product with its own transpose is BLAS's syrk, half the work.
        right = left if y is x else np.ascontiguousarray(y[piece, 0])
        return (left.T @ right)[None]

    for product in threads.map_parallel(multiply, range(0, positions, size)):
        total += product
    return total
