"""Packs codes of a few bits each one after another, the highest bit first."""

import numpy as np

from kprune._support.typing import Array

WORD = 64  # bits


def pack(codes: Array, lengths: Array) -> bytes:
    """Packs codes into bytes.

    All at once: a code lies in the word where it begins and, at most, spills into the next one; as
    codes are shorter than words, in every word some code begins.

    Args:
        codes: unsigned integers [n], each below `2 ** length`.
        lengths: bits of each code [n], from 1 to 15.

    Example:
        >>> pack(np.array([1, 2, 3]), np.array([1, 3, 4])).hex()
        'a3'
    """
    if not len(codes):
        return b""
    codes, lengths = _join_pairs(*_join_pairs(codes.astype(np.uint32), lengths.astype(np.uint8)))
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - lengths
    room = WORD - (starts & (WORD - 1)) - lengths  # left in the word; below 0: how much spills
    words_of = starts >> 6
    firsts = np.flatnonzero(np.diff(words_of, prepend=-1))
    shifted = codes << np.maximum(room, 0).astype(np.uint64)
    lasts = np.append(firsts[1:], len(codes)) - 1  # only these can spill
    spilling = lasts[room[lasts] < 0]
    over = -room[spilling]
    shifted[spilling] = codes[spilling] >> over.astype(np.uint64)
    words = np.zeros(-(-int(ends[-1]) // WORD), np.uint64)
    words[: len(firsts)] = np.bitwise_or.reduceat(shifted, firsts)
    words[words_of[spilling] + 1] |= codes[spilling] << (WORD - over).astype(np.uint64)
    return words.astype(">u8").tobytes()[: -(-int(ends[-1]) // 8)]


def _join_pairs(codes: Array, lengths: Array) -> tuple[Array, Array]:
    """Joins each two codes into one of twice the width, so that half as many are placed."""
    if len(codes) % 2:
        codes, lengths = np.append(codes, codes.dtype.type(0)), np.append(lengths, np.uint8(0))
    wide = codes.astype(np.dtype(f"u{min(8, 2 * codes.itemsize)}"))
    return wide[::2] << lengths[1::2] | wide[1::2], lengths[::2] + lengths[1::2]


def windows(content: memoryview) -> Array:
    """Returns the 32 bits that begin at each byte, zeros after the end."""
    padded = np.zeros(len(content) + 4, np.uint32)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    return padded[:-3] << 24 | padded[1:-2] << 16 | padded[2:-1] << 8 | padded[3:]
