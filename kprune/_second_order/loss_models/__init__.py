"""Approximates a loss by a quadratic model, and computes what pruning each weight costs.

`L(w + d) = L(w) + d^T H d / 2`, with H one block for all weights, one for some weights at a time,
or one for the inputs of each layer.
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
