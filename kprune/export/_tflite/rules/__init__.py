"""Decides which constants are stored sparse, and which kernels read them."""
