"""Says on which target a sparse kernel of TFLite is faster than a dense one.

The time of XNNPACK's dense kernels grows with all weights, that of TFLite's sparse ones with the
stored blocks, which they take one after another. Where they meet was measured
(`benchmarks.speed.latency`, `benchmarks.speed.arm_instructions`); the rules keep to the side on
which every measurement was faster.
"""

import dataclasses
from typing import Literal

import numpy as np

from kprune._support import validation
from kprune.export._tflite.format.constants import Constant
from kprune.export._tflite.format.sparse_array import Layout

Name = Literal["size", "x86", "arm"]
NAMES = ("size", "x86", "arm")
BLOCKS = {"float32": 4, "int8": 16}  # neighbours along the input that FULLY_CONNECTED reads as one
SPARSE_VERSION = 8  # of FULLY_CONNECTED: XNNPACK leaves it alone, TFLite's kernel reads blocks
LARGEST_BATCH = 16  # of those that were measured
MIN_WEIGHTS = 2**18  # in smaller matrices a call costs as much as the products
BEYOND_CACHE = 2**24  # bytes of dense weights that come from memory at each call
ROUNDING = 0.002  # pruning to 90 % falls on the nearest number of blocks
WIDEST_INT8 = 4096  # inputs; beyond it the kernel for int8 blocks computes something else


@dataclasses.dataclass(frozen=True)
class Target:
    """Describes what a file is made for.

    Args:
        name: "size" for the smallest file that is nowhere slower than the dense one; "x86" or "arm"
            for kernels that read blocks where these are faster on such a processor.
        batch: the fixed batch; `None` where it is free, and then up to 16 are assumed.
        threads: of the interpreter.
    """

    name: Name = "size"
    batch: int | None = None
    threads: int = 1

    def kernel(self, constant: Constant) -> Layout | None:
        """Returns the blocks that FULLY_CONNECTED is to read directly, or `None` for none.

        Args:
            constant: the weights of FULLY_CONNECTED, [output, input], and of nothing else.
        """
        weights, kind = constant.stored, str(constant.stored.dtype)
        if self.find_obstacle(weights.shape, kind, is_hybrid(constant)) is not None:
            return None
        if blocks_of_zeros(weights, BLOCKS[kind]) < self.least(weights.shape, kind) - ROUNDING:
            return None
        return Layout((0,), (1,), (), (1, BLOCKS[kind]))

    def find_obstacle(self, shape: tuple[int, ...], kind: str, hybrid: bool) -> str | None:
        """Returns what keeps a matrix from a faster sparse kernel, whatever its zeros are.

        Args:
            shape: [output, input].
            kind: the type of the weights.
            hybrid: whether activations are floats where the weights are integers.
        """
        if kind == "float32" and self.name == "size":
            return 'for target="size" it is unpacked at load; ask for "x86" or "arm"'
        if kind == "int8" and not hybrid:
            return "the sparse kernel for int8 activations is slower than the dense one"
        size = BLOCKS.get(kind)
        if size is None or len(shape) != 2:
            return "in this precision no sparse kernel reads it"
        if shape[1] % size:
            return (
                f"its width of {shape[1]} is not a multiple of {size}, and the tail would be lost"
            )
        if kind == "int8" and shape[1] > WIDEST_INT8:
            return f"beyond {WIDEST_INT8} inputs the sparse kernel computes something else"
        if np.prod(shape) < MIN_WEIGHTS:
            return f"with fewer than {MIN_WEIGHTS:,} weights the call itself takes most of the time"
        if (self.batch or LARGEST_BATCH) > LARGEST_BATCH:
            return f"a batch above {LARGEST_BATCH} was not measured"
        if self.threads > 1 and self.batch != 1:
            return "more threads make the dense kernel faster, and the sparse one slower"
        return None

    def least(self, shape: tuple[int, ...], kind: str) -> float:
        """Returns the fraction of zero blocks from which the sparse kernel is faster."""
        if self.threads > 1:
            return 0.95
        alone = self.batch == 1
        if self.name == "arm":
            if kind == "int8":
                return 0.75 if alone else 0.85
            return 0.9 if alone or self.batch is None else 0.82
        # What comes from memory at each call costs more than the products.
        beyond = kind == "float32" and np.prod(shape) * 4 >= BEYOND_CACHE
        return 0.8 if self.name == "x86" and alone and beyond else 0.9


def check_target(target: object, threads: object) -> None:
    """Raises ValueError if a target or a number of threads is invalid."""
    validation.require_choice(target, "target", NAMES)
    validation.require_whole(threads, "threads")


def is_hybrid(constant: Constant) -> bool:
    """Whether the readers take floats and integer weights."""
    return all(reader.hybrid for reader in constant.readers)


def blocks_of_zeros(weights: np.ndarray, size: int) -> float:
    """Returns the fraction of blocks along the last axis that are zero altogether."""
    return 1 - float(weights.reshape(len(weights), -1, size).any(-1).mean())
