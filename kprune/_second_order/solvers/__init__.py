"""Layer by layer: what a pruned matrix W [input, output] does best to keep its outputs.

Every column w of W has the same objective, `(v - w)^T H (v - w) / 2`, with H the Hessian of the
layer's own squared error, `2 X^T X / n`. NumPy and LAPACK alone; nothing here knows of a model.
"""

__all__ = ["damping", "elimination", "least_squares", "sweep"]
