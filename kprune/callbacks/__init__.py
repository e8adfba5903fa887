"""Keras callbacks that prune, and train pruned models, during `fit`."""

from kprune.callbacks.backup import Backup
from kprune.callbacks.best_epoch import BestEpoch
from kprune.callbacks.dropout import DropoutRatioAdjustment
from kprune.callbacks.proximal import ReweightedProximal
from kprune.callbacks.pruning import Pruning
from kprune.callbacks.regularization import Regularization
from kprune.callbacks.rewinding import Rewinding
from kprune.callbacks.thresholds import ThresholdPruning
from kprune.callbacks.weight_sharing import WeightSharing

__all__ = [
    "Backup",
    "BestEpoch",
    "DropoutRatioAdjustment",
    "Pruning",
    "Regularization",
    "ReweightedProximal",
    "Rewinding",
    "ThresholdPruning",
    "WeightSharing",
]
