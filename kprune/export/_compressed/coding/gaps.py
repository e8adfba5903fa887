"""Writes the places of nonzero values as gaps: how many zeros lie before each.

A gap is a symbol of a few bits. Where more zeros lie between two nonzero values than a symbol can
count, fillers are put in: the highest symbol stands for that many zeros with no value after them.
In Deep Compression a filler is a stored value of zero; here it needs no value.
"""

import numpy as np

from kprune._support.typing import Array
from kprune.export._compressed.coding import huffman, reader

BITS = range(2, 9)  # of a gap; the paper has 5 for dense layers and 8 for convolutions


def count_gaps(places: Array) -> Array:
    """Returns the number of zeros before each nonzero value.

    Args:
        places: of the nonzero values [m], ascending from 0.

    Example:
        >>> count_gaps(np.array([1, 4, 5])).tolist()
        [1, 2, 0]
    """
    return np.diff(places, prepend=-1) - 1


def to_symbols(gaps: Array, bits: int) -> Array:
    """Returns gaps as symbols, with fillers.

    Args:
        gaps: numbers of zeros [m].
        bits: of a symbol: `2 ** bits - 1` is a filler of as many zeros.

    Example:
        >>> to_symbols(np.array([1, 7, 0]), bits=2).tolist()
        [1, 3, 3, 1, 0]
    """
    filler = (1 << bits) - 1
    fillers, rest = np.divmod(gaps, filler)
    found = np.full(len(gaps) + int(fillers.sum()), filler, np.uint16)
    found[np.cumsum(fillers + 1) - 1] = rest
    return found


def count_symbols(gaps: Array, bits: int) -> Array:
    """Returns how often each symbol occurs, without making the symbols."""
    histogram = np.bincount(gaps)
    return _counts(np.flatnonzero(histogram), histogram[histogram > 0], bits)


def choose_bits(gaps: Array) -> int:
    """Returns the bits of a symbol with which Huffman codes are shortest."""
    histogram = np.bincount(gaps)
    kinds, often = np.flatnonzero(histogram), histogram[histogram > 0]
    return min(BITS, key=lambda bits: huffman.count_bits(_counts(kinds, often, bits)))


def to_places(found: Array, bits: int, size: int) -> Array:
    """Returns the places of the nonzero values.

    Args:
        found: symbols, as `to_symbols` makes them.
        bits: of a symbol.
        size: how many values there are, zeros included.

    Raises:
        ValueError: a symbol of more bits, or a place beyond the end.

    Example:
        >>> to_places(np.array([1, 3, 3, 1, 0]), bits=2, size=12).tolist()
        [1, 9, 10]
    """
    filler = (1 << bits) - 1
    if len(found) and found.max() > filler:
        raise reader.damaged_error(f"a gap of {found.max()} does not fit into {bits} bits")
    is_value = found < filler
    ends = np.cumsum(found + is_value, dtype=np.int64)
    if len(ends) and ends[-1] > size:
        raise reader.damaged_error(f"a weight has the place {ends[-1]} of {size}")
    return ends[is_value] - 1


def _counts(kinds: Array, often: Array, bits: int) -> Array:
    filler = (1 << bits) - 1
    found = np.zeros(filler + 1, np.int64)
    np.add.at(found, kinds % filler, often)
    found[filler] = int((kinds // filler) @ often)
    return found
