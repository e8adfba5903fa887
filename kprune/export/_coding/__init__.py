"""Lossless coding of sparse and shared weights: gaps, codebooks, Huffman codes. NumPy alone."""

from kprune.export._coding.arrays import Encoded, codable, decode, encode
from kprune.export._coding.reader import Reader, damaged

__all__ = ["Encoded", "Reader", "codable", "damaged", "decode", "encode"]
