"""Reads text files that are plain or compressed by gzip or xz."""

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

OPENERS: dict[str, Callable[..., Any]] = {"": open, ".gz": gzip.open, ".xz": lzma.open}


def read(directory: str | Path, name: str, advice: str) -> str:
    """Returns the text of a file, whichever of the three it is.

    Args:
        directory: where it is.
        name: without the ending of its compression.
        advice: what else is expected there, and the line to write; for the error.

    Raises:
        FileNotFoundError: there is none of the three.

    Example:
        >>> len(read("ptb", "ptb.valid.txt", "Write --data_dir=DIR").split())
        70390
    """
    for ending, opener in OPENERS.items():
        path = Path(directory, name + ending)
        if path.is_file():
            with opener(path, "rt", encoding="utf-8") as file:
                return str(file.read())
    raise FileNotFoundError(f"{directory} has no {name}, {name}.gz or {name}.xz; expected {advice}")
