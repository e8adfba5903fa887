"""Quadratic models of a loss: what a deletion costs, and where the survivors do best after it.

`L(w + d) = L(w) + d^T H d / 2`, H in blocks: all weights together, some at a time, or the inputs of
one column of one layer.
"""

from kprune.quadratics.layerwise import Damping, Layerwise, check_damping
from kprune.quadratics.observed import block, full
from kprune.quadratics.quadratic import Quadratic

__all__ = ["Damping", "Layerwise", "Quadratic", "block", "check_damping", "full"]
