"""Encodes symbols in canonical Huffman codes of at most 15 bits, and decodes many lanes at once.

A canonical code is known by the lengths of its codes, half a byte a symbol. The symbols are split
into lanes of 1,024, whose lengths in bits are stored: all lanes are decoded at once, one NumPy step
for each place in a lane, by looking at the next 15 bits. A lane costs two
bytes, 0.02 bits a symbol.
"""

import struct

import numpy as np

from kprune._support.typing import Array
from kprune.export._compressed.coding import bits, reader

MAX_BITS = 15  # of a code, so that a length is half a byte
LANE = 1024  # symbols; with codes of 15 bits a lane's length fits into 16 bits
HEAD = "<QH"  # how many symbols, and how many kinds


def code_lengths(counts: Array) -> Array:
    """Returns the lengths of the best prefix code in which none is longer than 15 bits.

    Package-merge: in each of 15 rounds the symbols and the pairs of the round before are sorted
    by weight; walking back from the last, a symbol's length is how often it is among the chosen.

    Args:
        counts: how often each symbol occurs [k], k at most 32,768.

    Returns:
        Bits of each symbol's code [k]; 0 for one that does not occur, and 1 for a single one.

    Example:
        >>> code_lengths(np.array([5, 1, 1, 0, 3])).tolist()
        [1, 3, 3, 0, 2]

    Reference:
        Larmore and Hirschberg, A fast algorithm for optimal length-limited Huffman codes, 1990.
    """
    found = np.zeros(len(counts), np.uint8)
    present = np.flatnonzero(counts)
    if len(present) < 2:
        found[present] = 1
        return found
    order = present[np.argsort(counts[present], kind="stable")]
    leaves = np.asarray(counts, np.int64)[order]
    merged = leaves[:0]
    rounds: list[Array] = []
    for _ in range(MAX_BITS):
        pairs = merged[: len(merged) // 2 * 2].reshape(-1, 2).sum(1)
        both = np.concatenate([leaves, pairs])
        places = np.argsort(both, kind="stable")
        rounds.append(places < len(leaves))
        merged = both[places]
    chosen = 2 * len(leaves) - 2
    for is_leaf in reversed(rounds):
        symbols = int(np.count_nonzero(is_leaf[:chosen]))
        found[order[:symbols]] += 1
        chosen = 2 * (chosen - symbols)
    return found


def assign_codes(lengths: Array) -> Array:
    """Returns the canonical codes of given lengths: counted up, shorter ones first.

    Example:
        >>> assign_codes(np.array([1, 3, 3, 0, 2])).tolist()
        [0, 6, 7, 0, 2]
    """
    order = _canonical(lengths)
    shares = np.int64(1) << (MAX_BITS - lengths[order].astype(np.int64))
    found = np.zeros(len(lengths), np.int64)
    found[order] = (np.cumsum(shares) - shares) // shares
    return found


def count_bits(counts: Array) -> int:
    """Returns the bits that `encode` takes, tables included, from how often each symbol occurs."""
    total = int(counts.sum())
    kinds = int(np.flatnonzero(counts)[-1]) + 1 if total else 0
    fixed = 8 * struct.calcsize(HEAD) + 8 * (-(-kinds // 2))
    if np.count_nonzero(counts) < 2:
        return fixed
    exact = int(code_lengths(counts).astype(np.int64) @ counts.astype(np.int64))
    return fixed + 16 * -(-total // LANE) + 8 * -(-exact // 8)


def encode(symbols: Array) -> bytes:
    """Encodes symbols.

    Args:
        symbols: integers [n] from 0 to 32,767.

    Example:
        >>> content = encode(np.array([3, 0, 0, 3, 1]))
        >>> decode(reader.ByteReader(content), 5).tolist()
        [3, 0, 0, 3, 1]
    """
    counts = np.bincount(symbols) if len(symbols) else np.zeros(0, np.int64)
    found = code_lengths(counts)
    halves = np.zeros(-(-len(found) // 2) * 2, np.uint8)
    halves[: len(found)] = found
    head = struct.pack(HEAD, len(symbols), len(found)) + (halves[::2] << 4 | halves[1::2]).tobytes()
    if np.count_nonzero(found) < 2:
        return head
    each = found[symbols]
    lanes = np.add.reduceat(each, np.arange(0, len(symbols), LANE), dtype=np.int64)
    packed = bits.pack(assign_codes(found)[symbols], each)
    return head + lanes.astype("<u2").tobytes() + packed


def decode(source: reader.ByteReader, limit: int) -> Array:
    """Decodes what `encode` wrote.

    Args:
        source: at the begin of the content; it is left at its end.
        limit: how many symbols there may be.

    Returns:
        The symbols, unsigned integers [n].

    Raises:
        ValueError: the content is not one that `encode` writes.
    """
    count, kinds = source.unpack(HEAD)
    if count > limit or kinds > 1 << MAX_BITS:
        raise reader.damaged_error(
            f"{count} symbols of {kinds} kinds are announced, at most {limit} fit"
        )
    halves = source.array(np.uint8, -(-kinds // 2))
    found = np.stack([halves >> 4, halves & 15], axis=1).reshape(-1)
    present = int(np.count_nonzero(found))
    if not count:
        return np.zeros(0, np.uint32)
    if present == 1:
        return np.full(count, np.flatnonzero(found)[0], np.uint32)
    table = _table(found)
    sizes = source.array("<u2", -(-count // LANE)).astype(np.int64)
    total = int(sizes.sum())
    if count > total:
        raise reader.damaged_error(f"{count} symbols are announced in {total} bits")
    windows = bits.windows(source.take(-(-total // 8)))
    ends = np.cumsum(sizes)
    places = ends - sizes
    steps, tail = min(count, LANE), count - (len(sizes) - 1) * LANE
    entries = np.empty((steps, len(sizes)), np.uint32)
    for step in range(steps):
        here = places[: len(sizes) - (step >= tail)]  # a view: the last lane may be shorter
        window = windows.take(here >> 3, mode="clip") >> (32 - MAX_BITS - (here & 7)).astype("u4")
        entry = table.take(window & ((1 << MAX_BITS) - 1))
        entries[step, : len(here)] = entry
        here += entry & 15
    if not np.array_equal(places, ends):
        raise reader.damaged_error("a lane of codes does not end where it should")
    return entries.T.reshape(-1)[:count] >> 4


def _canonical(lengths: Array) -> Array:
    """Returns the symbols that occur, by length, then by number."""
    present = np.flatnonzero(lengths)
    return present[np.argsort(lengths[present], kind="stable")]


def _table(lengths: Array) -> Array:
    """Maps each 15 bits to the symbol that they begin with, and in four bits its length."""
    order = _canonical(lengths)
    shares = 1 << (MAX_BITS - lengths[order].astype(np.int64))
    if shares.sum() != 1 << MAX_BITS:
        raise reader.damaged_error("the lengths of the codes are those of no prefix code")
    return np.repeat((order << 4 | lengths[order]).astype(np.uint32), shares)
