"""Trains and retrains pruned models in a training loop of your own.

The callbacks in `kprune.callbacks` of the same file names do the same during `fit`.
"""

from kprune.training import codebooks
from kprune.training.accumulation import accumulating
from kprune.training.batch_norm import recalibrate_batch_norm
from kprune.training.fake_quantization import fake_quantized
from kprune.training.proximal import proximal_strength
from kprune.training.regularization import regularized
from kprune.training.retraining import Recipe
from kprune.training.rewinding import Snapshot
from kprune.training.weight_sharing import (
    SharedWeight,
    SharingReport,
    clusters,
    join_clusters,
    share_weights,
    sharing,
)

__all__ = [
    "Recipe",
    "SharedWeight",
    "SharingReport",
    "Snapshot",
    "accumulating",
    "clusters",
    "codebooks",
    "fake_quantized",
    "join_clusters",
    "proximal_strength",
    "recalibrate_batch_norm",
    "regularized",
    "share_weights",
    "sharing",
]
