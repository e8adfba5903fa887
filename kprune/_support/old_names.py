"""Finds what had another public name before 0.2, and warns with the new one."""

import importlib
from typing import Any

from kprune._support import warning

# Old name: new name, both below `kprune`. Names of modules stand for what was public in them.
RENAMED = {
    "accumulating": "training.accumulating",
    "codebooks": "training.codebooks",
    "curvature": "_second_order.hessian",
    "models.symmetric_padding": "export.symmetric_padding",
    "proximal.strength": "training.proximal_strength",
    "quantization.fake_quantized": "training.fake_quantized",
    "regularizers.regularized": "training.regularized",
    "retraining.Recipe": "training.Recipe",
    "rewinding.Snapshot": "training.Snapshot",
    "sharing.found": "training.clusters",
    "sharing.share": "training.share_weights",
    "sharing.sharing": "training.sharing",
    "sharing.snap": "training.join_clusters",
    "wrappers.find": "masked_weights",
    "wrappers.present": "masked_weights",
    "wrapping.stripped": "stripped",
}


class _OldModule:
    """Stands for a module that is no more, with what was public in it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return find(f"{self._name}.{name}")


def find(name: str) -> Any:
    """Returns what a name below `kprune` stood for.

    Raises:
        AttributeError: the name stood for nothing public.
    """
    if name in RENAMED:
        new = RENAMED[name]
        shown = f"kprune.{new}" if "._" not in f".{new}" else "kprune.criteria"
        warning.warn(
            f"kprune.{name} is now {shown}; the old name will be removed in 0.3.",
            DeprecationWarning,
        )
        found: Any = importlib.import_module("kprune")
        for part in new.split("."):
            path = f"{found.__name__}.{part}" if hasattr(found, "__path__") else ""
            found = getattr(found, part, None) or importlib.import_module(path)
        return found
    if any(old.startswith(f"{name}.") for old in RENAMED):
        return _OldModule(name)
    kprune = importlib.import_module("kprune")
    # With name and object Python adds the nearest name: "Did you mean: 'prune'?"
    raise AttributeError(f"module 'kprune' has no attribute {name!r}", name=name, obj=kprune)
