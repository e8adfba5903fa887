"""Reads a kernel of any rank as a matrix."""

import dataclasses
import math

import numpy as np

from kprune._support import signatures
from kprune._support.typing import Array

__all__ = ["MatrixView"]


@signatures.explain_constructor
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
