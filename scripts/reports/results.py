"""Writes the results of a program as JSON, with the versions of the packages that made them."""

import json
import os
import platform
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kprune
from kprune._support import files


def write_results(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Writes a JSON file, whole or not at all.

    Args:
        path: of the file, which is replaced.
        content: what `json` takes.
    """
    with files.replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def list_versions() -> dict[str, str]:
    """Returns the versions of Python, kprune, Keras, TensorFlow and NumPy."""
    packages = {each.__name__: each.__version__ for each in (kprune, keras, tf, np)}
    return {"python": platform.python_version(), **packages}
