"""Finds masks and values of a layer's matrix W [input, output] that keep its outputs.

Every column w of W has the same objective, `(v - w)^T H (v - w) / 2`, with H the Hessian of the
layer's own squared error, `2 X^T X / n`. Only NumPy and LAPACK are used, and no model.
"""

__all__ = ["damping", "exact_obs", "least_squares", "sparse_gpt"]
