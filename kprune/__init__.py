"""kprune: pruning for Keras 3.

`wrap` a model, prune it in `fit` along a schedule or at once, `strip` it, and export it: a plain,
sparse model. See the README for a tour.
"""

from kprune import (
    allocations,
    callbacks,
    codebooks,
    criteria,
    curvature,
    export,
    masks,
    models,
    patterns,
    proximal,
    quantization,
    refits,
    regularizers,
    retraining,
    rewinding,
    schedules,
    sharing,
    thresholds,
    wrapping,
)
from kprune.accumulation import accumulating
from kprune.normalization import recalibrate_batch_norm
from kprune.pruning import prune, step
from kprune.reporting import report
from kprune.wrappers import Pruned, project
from kprune.wrapping import strip, wrap

__version__ = "0.1.0"

__all__ = [
    "Pruned",
    "accumulating",
    "allocations",
    "callbacks",
    "codebooks",
    "criteria",
    "curvature",
    "export",
    "masks",
    "models",
    "patterns",
    "project",
    "proximal",
    "prune",
    "quantization",
    "recalibrate_batch_norm",
    "refits",
    "regularizers",
    "report",
    "retraining",
    "rewinding",
    "schedules",
    "sharing",
    "step",
    "strip",
    "thresholds",
    "wrap",
    "wrapping",
]
