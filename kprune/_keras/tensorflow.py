"""Imports TensorFlow when it is first used: no other backend needs it."""

import importlib
from typing import Any


class _Module:
    """Stands for the module `tensorflow` until an attribute of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("tensorflow"), name)


tf: Any = _Module()
