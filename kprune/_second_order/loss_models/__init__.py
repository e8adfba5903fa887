"""LossModel models of a loss: what a deletion costs, and where the survivors do best after it.

`L(w + d) = L(w) + d^T H d / 2`, H in blocks: all weights together, some at a time, or the inputs of
one column of one layer.
"""

from kprune._second_order.loss_models.builders import build_blockwise, build_full
from kprune._second_order.loss_models.layerwise import Damping, LayerwiseLoss, validate_damping
from kprune._second_order.loss_models.loss_model import LossModel

__all__ = [
    "Damping",
    "LayerwiseLoss",
    "LossModel",
    "build_blockwise",
    "build_full",
    "validate_damping",
]
