"""Files that TensorFlow's converter is known to write wrongly, told from how they store weights.

Measured with TensorFlow 2.21. The list explains a failure and decides nothing: whether a file is
right is what `verification` finds out by running it, so a converter that is repaired needs no
change here.
"""

from collections.abc import Sequence

from kprune.export import encodings


def explain(tensors: Sequence[encodings.TensorEncoding], quantization: str | None) -> str | None:
    """Returns what is known to go wrong with a file that stores these tensors, if anything is.

    Args:
        tensors: the constants of the file.
        quantization: how it was made: `None`, "float16", "dynamic" or "int8".

    Example:
        >>> explain(encodings.read("lenet.tflite"), None) or "no known defect"
        'no known defect'
    """
    for tensor in tensors:
        if cause := _cause(tensor, quantization):
            return f"{tensor.name} {list(tensor.shape)} {cause}"
    return None


def lost(
    sparse: Sequence[encodings.TensorEncoding], dense: Sequence[encodings.TensorEncoding]
) -> str | None:
    """Returns which sparse tensor stores other values than the dense file, if any does.

    Running a file on some inputs may miss a few weights of many; counting them cannot.

    Args:
        sparse: the constants of a file with sparse tensors.
        dense: those of the same model converted densely.
    """
    counts = {(each.shape, each.dtype, each.nonzeros) for each in dense}
    for tensor in sparse:
        if tensor.encoding == encodings.DENSE:
            continue
        if (tensor.shape, tensor.dtype, tensor.nonzeros) not in counts:
            there = [
                n for shape, dtype, n in counts if (shape, dtype) == (tensor.shape, tensor.dtype)
            ]
            return (
                f"{tensor.name} {list(tensor.shape)} stores {tensor.nonzeros:,} values other than "
                f"zero, where the dense file has {' or '.join(map('{:,}'.format, there)) or 'none'}"
            )
    return None


def _cause(tensor: encodings.TensorEncoding, quantization: str | None) -> str | None:
    if tensor.encoding == encodings.NATIVE:
        block = "x".join(map(str, tensor.block or ()))
        if tensor.dtype == "float16":
            return (
                f"lies in blocks of {block} as float16, and the interpreter reads them as dense "
                "float32, past their end"
            )
        if quantization == "dynamic":
            return (
                f"lies in blocks of {block}, which XNNPACK, on by default, reads as if they were "
                "dense in a dynamic-range file"
            )
        if tensor.ragged:
            return (
                f"lies in blocks of {block}, its width is no multiple of the block, and what is "
                "left over at the end of a row is dropped"
            )
    if tensor.encoding == encodings.DENSIFIED:
        if quantization == "dynamic" and tensor.reader in ("CONV_2D", "FULLY_CONNECTED"):
            return (
                f"is unpacked by DENSIFY before {tensor.reader}, which XNNPACK, on by default, "
                "cannot prepare in a dynamic-range file"
            )
        if quantization == "float16" and tensor.reader in ("TRANSPOSE_CONV", "GATHER"):
            return (
                f"is unpacked by DENSIFY before {tensor.reader}, which XNNPACK, on by default, "
                "runs on the wrong tensor in a float16 file"
            )
    return None
