"""Lossless coding of sparse and shared weights: gaps, codebooks, Huffman codes. NumPy alone."""

from kprune.coding.arrays import Encoded, codable, decode, encode
from kprune.coding.reader import Reader, damaged

__all__ = ["Encoded", "Reader", "codable", "damaged", "decode", "encode"]
