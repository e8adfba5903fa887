"""Writes results as JSON, and reads them back so that no measurement is repeated.

A file has the versions and the machine, and, for a program that can be resumed, a list "rows".
"""

import json
import os
import pathlib
import platform
from collections.abc import Callable
from importlib import metadata
from typing import Any

from kprune._support import files

Row = dict[str, Any]
PACKAGES = ("kprune", "tensorflow", "keras", "numpy", "tensorflow-model-optimization")


def list_surroundings() -> Row:
    """Returns the machine and the versions of the packages that are installed."""
    installed = {each.name for each in metadata.distributions()}
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        **{name: metadata.version(name) for name in PACKAGES if name in installed},
    }


def format_surroundings() -> str:
    """Returns the machine and the versions as a line of text."""
    return ", ".join(f"{name} {value}" for name, value in list_surroundings().items())


def save(path: str | None, content: Row) -> None:
    """Writes results with the machine and the versions, whole or not at all.

    Args:
        path: of the JSON file; `None` writes nothing.
        content: what `json` takes.
    """
    if path:
        with files.replacing(path) as temporary:
            temporary.write_text(json.dumps({**list_surroundings(), **content}, indent=2) + "\n")


class Rows:
    """Rows of results that are kept in a JSON file as soon as they are measured.

    A row is a dictionary: its settings, which are its key, and what was measured with them.

    Args:
        path: of the file, read now if it exists; `None` for no file.

    Raises:
        ValueError: the file is not one of a program with rows.

    Example:
        >>> rows = Rows(FLAGS.json)
        >>> row = rows.measure_once({"width": 512}, lambda: {"seconds": measure(512)})
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.rows: list[Row] = []
        if path and pathlib.Path(path).exists():
            content = json.loads(pathlib.Path(path).read_text())
            if "rows" not in content:
                raise ValueError(
                    f'{path} has no "rows"; expected a file that this program wrote. '
                    f"Write --json={pathlib.Path(path).stem}_rows.json"
                )
            self.rows = content["rows"]

    def find(self, key: Row) -> Row | None:
        """Returns the row with these settings, if there is one."""
        return next((row for row in self.rows if key.items() <= row.items()), None)

    def add(self, key: Row, measured: Row) -> Row:
        """Returns a new row, in place of one with the same key, and writes the file."""
        row = {**key, **measured}
        self.rows = [each for each in self.rows if not key.items() <= each.items()] + [row]
        save(self.path, {"rows": self.rows})
        return row

    def measure_once(self, key: Row, measure: Callable[[], Row]) -> Row:
        """Returns the row with these settings, measured now if the file does not have it.

        Args:
            key: the settings.
            measure: returns the rest of the row.
        """
        return self.find(key) or self.add(key, measure())
