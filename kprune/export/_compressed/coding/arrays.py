"""Encodes an array as bytes in the shortest of four forms, and decodes it bit for bit.

    raw            the values
    codes          Huffman codes of all values, zeros among them
    sparse         the places of the nonzero values, and these values
    sparse codes   the places of the nonzero values, and Huffman codes of these values

A value counts as zero if none of its bits is set; -0.0 is not zero here. So every array comes back
as it was: infinities, NaN and negative zeros too.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from kprune._support.typing import Array
from kprune.export._compressed.coding import parts, reader

FORMS = ("raw", "codes", "sparse", "sparse codes")  # the first byte is the place in this list
KINDS = "biufV"  # of NumPy's types: booleans, real numbers, and bits such as bfloat16's
SIZES = (1, 2, 4, 8)  # bytes of a value: it is read as an integer
MAX_CODEBOOK = 4096  # distinct values


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Holds an array encoded as bytes.

    Args:
        content: for `decode`.
        form: "raw", "codes", "sparse" or "sparse codes".
        kept: how many values are not zero.
        distinct: how many different ones there are among these; `None` for more than 4,096.
        fixed_bits: what the form would take with codes of one length in place of Huffman's.
    """

    content: bytes
    form: str
    kept: int
    distinct: int | None
    fixed_bits: int


def encode(array: Array) -> Encoded:
    """Encodes an array in the shortest form.

    Args:
        array: of real numbers or booleans, any shape.

    Raises:
        TypeError: the array holds something else.

    Example:
        >>> weights = np.zeros((300, 100), "float32")
        >>> weights[::7, ::3] = 0.25
        >>> encoded = encode(weights)
        >>> encoded.form, encoded.kept, len(encoded.content)
        ('sparse codes', 1462, 333)
    """
    array = np.asarray(array)
    if not is_codable(array.dtype):
        raise TypeError(
            f"got an array of {array.dtype}; expected real numbers or booleans of 64 bits at most. "
            "Write encode(np.asarray(values, 'float32'))."
        )
    flat = _view_as_integers(array)
    places = np.flatnonzero(flat)
    dense = len(places) == len(flat)
    nonzeros = flat if dense else flat[places]
    forms: dict[str, tuple[parts.Part, ...]] = {"raw": (parts.Raw(flat),)}
    book = _make_codebook(nonzeros)
    if book is not None:
        coded = parts.Coded(book, np.searchsorted(book, nonzeros).astype(np.uint16))
        forms["codes"] = (coded if dense else _add_zeros(coded, places, len(flat)),)
    if not dense:
        gaps = parts.Places(places)
        forms["sparse"] = (gaps, parts.Raw(nonzeros))
        if book is not None:
            forms["sparse codes"] = (gaps, coded)
    form = min(forms, key=lambda each: sum(part.bits for part in forms[each]))
    return Encoded(
        bytes([FORMS.index(form)]) + b"".join(part.content() for part in forms[form]),
        form,
        len(places),
        None if book is None else len(book),
        8 + sum(part.fixed_bits for part in forms[form]),
    )


def decode(content: bytes | memoryview, dtype: Any, shape: tuple[int, ...]) -> Array:
    """Decodes what `encode` made.

    Allocates a small multiple of the array and of the content, whatever the content says.

    Args:
        content: of an `Encoded`, and nothing else.
        dtype: of the array.
        shape: of the array; whether it is too large is for the caller to say.

    Raises:
        ValueError: the content is not that of an array of this type and shape.

    Example:
        >>> decode(encode(np.eye(3)).content, "float64", (3, 3)).trace()
        np.float64(3.0)
    """
    dtype, size = np.dtype(dtype), math.prod(shape)
    source = reader.ByteReader(content)
    number = source.unpack("<B")[0]
    if number >= len(FORMS):
        raise reader.damaged_error(f"an array has the form {number}")
    form = FORMS[number]
    where = parts.Places.read(source, size) if form.startswith("sparse") else None
    count = size if where is None else len(where)
    part = parts.Coded if form.endswith("codes") else parts.Raw
    values = part.read(source, _integer_type(dtype), count)
    source.end()
    if where is not None:
        nonzeros, values = values, np.zeros(size, _integer_type(dtype))
        values[where] = nonzeros
    if dtype.kind == "b":
        return (values != 0).reshape(shape)  # no other pattern may stand in a boolean
    return values.view(dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def is_codable(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of a type can be encoded."""
    return dtype.kind in KINDS and dtype.itemsize in SIZES


def _view_as_integers(array: Array) -> Array:
    """Returns the array as little-endian unsigned integers of the same bits, flat."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
    return little.view(_integer_type(array.dtype))


def _integer_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"<u{dtype.itemsize}")


def _make_codebook(values: Array) -> Array | None:
    """Returns the different values, ascending, or `None` where they are too many."""
    ordered = np.sort(values)
    firsts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    if len(firsts) >= MAX_CODEBOOK:
        return None
    return ordered[np.concatenate([[0], firsts])] if len(ordered) else ordered


def _add_zeros(coded: parts.Coded, places: Array, size: int) -> parts.Coded:
    """Returns the codes of all values from those of the nonzero ones: zero has the code 0."""
    codes = np.zeros(size, np.uint16)
    codes[places] = coded.codes + 1
    return parts.Coded(np.concatenate([np.zeros(1, coded.book.dtype), coded.book]), codes)
