"""kprune: pruning for Keras 3.

`wrap` a model, prune it in `fit` along a schedule or at once, `strip` it, and export it: a plain,
sparse model. See the README for a tour.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kprune import (
    allocations,
    calibration,
    callbacks,
    criteria,
    patterns,
    refits,
    schedules,
    thresholds,
    training,
)
from kprune._masking.masked_weights import find as masked_weights
from kprune._masking.masked_weights import project
from kprune._masking.pruned_layer import Pruned
from kprune._masking.report import Report, report
from kprune._masking.wrapping import strip, stripped, wrap
from kprune._support import old_names
from kprune.pruning import prune, step
from kprune.training import recalibrate_batch_norm

if TYPE_CHECKING:
    from kprune import budgets, export, migrate
    from kprune.budgets import costs

__version__ = "0.2.0"

__all__ = [
    "wrap",
    "prune",
    "step",
    "report",
    "strip",
    "stripped",
    "project",
    "masked_weights",
    "costs",
    "recalibrate_batch_norm",
    "Pruned",
    "Report",
    "allocations",
    "budgets",
    "calibration",
    "callbacks",
    "criteria",
    "export",
    "migrate",
    "patterns",
    "refits",
    "schedules",
    "thresholds",
    "training",
]


def __getattr__(name: str) -> Any:
    """Imports what needs exporters when first used; finds what had another name before."""
    if name in ("budgets", "export", "migrate"):
        return importlib.import_module(f"kprune.{name}")
    if name == "costs":
        return importlib.import_module("kprune.budgets").costs
    return old_names.find(name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
