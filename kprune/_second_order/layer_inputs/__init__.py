"""Reads what layers multiply their kernels with, and accumulates its Gram matrices."""
