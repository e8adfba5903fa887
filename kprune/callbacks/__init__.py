"""Callbacks: when. They go into `model.fit(callbacks=[...])`."""

from kprune.callbacks.dropout import DropoutRatioAdjustment
from kprune.callbacks.pruning import Pruning

__all__ = ["DropoutRatioAdjustment", "Pruning"]
