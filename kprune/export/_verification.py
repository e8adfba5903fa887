"""Compares the outputs of an exported file with those of the Keras model."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kprune._support.typing import Array
from kprune.export._inputs import signatures

Values = dict[str, Array]

ROUNDING = 1e-7  # the difference that outputs close to zero may have


class ExportError(RuntimeError):
    """Raised where an exported file cannot be made, cannot be loaded, or is not the model."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """Describes how far two sets of outputs are apart.

    Args:
        largest: the largest absolute difference; infinite where only one of them is a number.
        scale: the largest absolute output of the reference.
        allowed: the largest difference that would have been accepted.
    """

    largest: float
    scale: float
    allowed: float = 0.0


def expect(model: Any, signature: signatures.Signature, batch: Sequence[Array]) -> Values:
    """Returns the Keras model's outputs under the names that an export gives them."""
    tensors = [keras.ops.convert_to_tensor(array) for array in batch]
    return name_outputs(model(*signature.pack(tensors), training=False))


def name_outputs(outputs: Any) -> Values:
    """Names outputs as a SavedModel's signature does: by key, or output_0, output_1 and so on."""
    if isinstance(outputs, Mapping):
        return {key: np.asarray(value) for key, value in outputs.items()}
    flat = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return {f"output_{index}": np.asarray(value) for index, value in enumerate(flat)}


def compare(actual: Sequence[Values], expected: Sequence[Values]) -> Difference:
    """Returns the largest difference between two lists of outputs.

    Values that are infinite or not a number in the same way agree.

    Raises:
        ExportError: an output is missing or has another shape.

    Example:
        >>> compare([{"y": np.array([1.0])}], [{"y": np.array([1.5])}])
        Difference(largest=0.5, scale=1.5, allowed=0.0)
    """
    largest = scale = 0.0
    for outputs, references in zip(actual, expected, strict=True):
        for key, reference in references.items():
            value = outputs.get(key)
            if value is None or value.shape != reference.shape:
                came = (
                    f"has shape {value.shape}" if value is not None else f"is not in {[*outputs]}"
                )
                raise ExportError(f"output {key!r} {came}; expected shape {reference.shape}")
            if reference.size == 0:
                continue
            if reference.dtype.kind in "SUO":
                largest = max(largest, 0.0 if np.array_equal(value, reference) else np.inf)
                continue
            a, b = value.astype(np.float64), reference.astype(np.float64)
            with np.errstate(invalid="ignore"):
                gaps = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
            largest = max(largest, float(np.nan_to_num(gaps, nan=np.inf, posinf=np.inf).max()))
            scale = max(scale, float(np.abs(b[np.isfinite(b)]).max(initial=0.0)))
    return Difference(largest, scale)


def agree(
    actual: Sequence[Values],
    expected: Sequence[Values],
    fraction: float,
    reference: str,
    step: float = 0.0,
) -> Difference:
    """Compares as `compare` does, and raises where the difference is larger than allowed.

    Args:
        actual: outputs of each run.
        expected: outputs of the reference.
        fraction: of the largest output of the reference: the difference to accept.
        reference: what the reference is, for the message.
        step: between neighbouring values of quantized outputs; added to what is accepted.

    Raises:
        ExportError: the difference is larger, or an output of the reference is never a number.
    """
    _check_numbers(expected, reference)
    difference = compare(actual, expected)
    allowed = fraction * difference.scale + step + ROUNDING
    if difference.largest > allowed:
        raise ExportError(
            f"its outputs are {difference.largest:.3g} away from those of {reference}, which "
            f"reach {difference.scale:.3g}; expected at most {allowed:.3g}"
        )
    return dataclasses.replace(difference, allowed=allowed)


def _check_numbers(expected: Sequence[Values], reference: str) -> None:
    """Raises ExportError if an output is not a number in any run: nothing would be compared."""
    for key in expected[0] if expected else ():
        values = [outputs[key] for outputs in expected]
        floating = [value for value in values if value.dtype.kind not in "SUObiu" and value.size]
        if floating and all(np.isnan(value).all() for value in floating):
            raise ExportError(
                f"every value of output {key!r} of {reference} is not a number, so nothing can be "
                "compared; expected numbers. Write model.predict(x) to see them"
            )
