"""Finds the constants that may be stored sparse, so that the interpreters read them right.

DENSIFY unpacks a sparse tensor once, when the file is loaded, and costs nothing after that. It is
safe before float32 readers of every kind. What it is not safe before was found by running files in
the interpreters of TensorFlow 2.21 and LiteRT 2.3 with XNNPACK on, as it is by default; each rule
below has a test that stores the tensor against the rule and sees the file fail.
"""

from collections.abc import Sequence

from kprune.export._tflite.format.constants import Constant, Reader

TYPES = ("float32", "float16", "int8")  # that DENSIFY unpacks
KERNELS = ("CONV_2D", "FULLY_CONNECTED")
# Readers that XNNPACK runs, and gives float16 weights to, unpacked by itself.
HALF = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")


def find_obstacle(constant: Constant, kind: str) -> str | None:
    """Returns why a constant must stay dense, or `None` where it may be stored sparse.

    Args:
        constant: as the converter wrote it.
        kind: the name of its type.
    """
    if not constant.readers:
        return "no operator reads it"
    if len(constant.shape) < 2:
        return "it is a vector; only weights of two axes and more are stored sparse"
    if constant.exposed:
        return "it is an input, an output or a variable of the graph"
    if kind not in TYPES:
        return f"DENSIFY unpacks {', '.join(TYPES[:-1])} and {TYPES[-1]}, not {kind}"
    return next(
        filter(None, (_find_obstacle_at(reader, kind) for reader in constant.readers)), None
    )


def is_widened(constant: Constant) -> bool:
    """Whether float16 weights can only be stored sparse as float32, which DEQUANTIZE makes of them.

    XNNPACK leaves the readers to TFLite's own kernels, and gives these another tensor's values if
    DENSIFY stands before DEQUANTIZE. Every float16 value is a float32 value, so nothing is lost.
    """
    return constant.immediate == ("DEQUANTIZE",) and any(
        reader.operator not in HALF or reader.position != 1 for reader in constant.readers
    )


def is_direct(constant: Constant) -> bool:
    """Whether TFLite has a kernel that reads the constant in blocks, without unpacking it."""
    return (
        constant.immediate == ("FULLY_CONNECTED",)
        and not constant.exposed
        and all(
            (reader.operator, reader.position) == ("FULLY_CONNECTED", 1)
            and reader.activations != "int16"
            for reader in constant.readers
        )
    )


def _find_obstacle_at(reader: Reader, kind: str) -> str | None:
    if reader.activations == "int16":
        return "operators with int16 activations are left as they are"
    if kind != "int8":
        return None
    if reader.hybrid and reader.operator in KERNELS:
        return (
            f"XNNPACK, on by default, cannot prepare a dynamic-range {reader.operator} whose "
            "weights are unpacked, and without XNNPACK it is up to four times slower"
        )
    if not reader.hybrid and reader.operator == "FULLY_CONNECTED":
        return (
            "LiteRT's XNNPACK, on by default, cannot prepare an int8 FULLY_CONNECTED whose weights "
            "are unpacked, and without XNNPACK it is up to four times slower"
        )
    return None


def operator_names(constants: Sequence[Constant]) -> list[str]:
    """Returns the names of the operators that read some constants, each once."""
    return list(dict.fromkeys(name for constant in constants for name in constant.operators))
