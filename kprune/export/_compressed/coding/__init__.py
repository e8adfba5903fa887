"""Codes sparse and shared weights without loss: gaps, codebooks, Huffman codes. NumPy alone."""

from kprune.export._compressed.coding.arrays import Encoded, decode, encode, is_codable
from kprune.export._compressed.coding.reader import ByteReader, damaged_error

__all__ = ["Encoded", "ByteReader", "is_codable", "damaged_error", "decode", "encode"]
