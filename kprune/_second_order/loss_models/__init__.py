"""LossModel models of a loss: what a deletion costs, and where the survivors do best after it.

`L(w + d) = L(w) + d^T H d / 2`, H in blocks: all weights together, some at a time, or the inputs of
one column of one layer.
"""

from kprune._second_order.loss_models.layerwise import Damping, Layerwise, check_damping
from kprune._second_order.loss_models.loss_model import LossModel
from kprune._second_order.loss_models.observed import block, full

__all__ = ["Damping", "Layerwise", "LossModel", "block", "check_damping", "full"]
