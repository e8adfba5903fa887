"""Describes a weight with its mask: what every criterion, allocation and pattern works on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kprune import patterns
from kprune._keras import backend
from kprune._masking.locations import Location
from kprune._support.typing import Array


@dataclasses.dataclass(frozen=True, eq=False)
class Weight:
    """A weight with its mask.

    Args:
        location: where the weight lives.
        mask: a boolean variable of the weight's shape; true is kept.
        label: the weight's class, within which or between which allocations compare.
        pattern: what of it is pruned as one piece.
        constraint: the user's own constraint, to be put back.
        kept_at_wrap: how many weights were there when it was wrapped.
        floor: how many values no pruning takes away.
    """

    location: Location
    mask: keras.Variable
    label: str
    pattern: patterns.Pattern
    constraint: Callable[[Any], Any] | None
    kept_at_wrap: int
    floor: int = 0

    @property
    def variable(self) -> keras.Variable:
        """The weight's variable."""
        return self.location.variable

    @property
    def path(self) -> str:
        """The weight's path in the model."""
        return self.location.path

    @property
    def size(self) -> int:
        """How many values there are, zeros and all."""
        return int(np.prod(self.variable.shape))

    @property
    def view(self) -> patterns.MatrixView:
        """How the weight is read as a matrix [input, output]."""
        return self.location.view

    def values(self) -> Array:
        """Returns the values, read-only, without a copy where TensorFlow lends its buffer."""
        return backend.read(self.variable)

    def alive(self) -> Array:
        """Returns the mask, read-only."""
        return backend.read(self.mask)

    def kept(self) -> int:
        """Returns how many values the mask keeps."""
        return int(np.count_nonzero(self.alive()))

    def write(self, mask: Array | None = None, values: Any = None) -> None:
        """Writes the mask, and the values on that mask.

        Args:
            mask: boolean, of the weight's shape. Default: the mask stays.
            values: of the weight's shape. Default: the values that the new mask keeps.
        """
        backend.write_masked(self.variable, self.mask, mask, values)
