"""Writes nests of numbers, strings and arrays to two files, and reads them."""

import json
import numbers
from pathlib import Path
from typing import Any

import numpy as np

from kprune._support.typing import Array

_ARRAY = "kprune/array"  # no name of an attribute, nor likely a key of a user


def is_plain(value: Any) -> bool:
    """Returns whether a value is made of numbers, strings, `None` and arrays alone."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(is_plain(each) for each in value)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype != object
    return value is None or isinstance(value, (bool, numbers.Real, str))


def save(directory: Path, value: Any) -> None:
    """Writes a plain value: its structure as JSON, its arrays as `.npz`."""
    arrays: list[Array] = []

    def encode(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: encode(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [encode(each) for each in value]
        if isinstance(value, (np.ndarray, np.generic)):
            arrays.append(np.asarray(value))
            return {_ARRAY: len(arrays) - 1}
        return value

    (directory / "state.json").write_text(json.dumps(encode(value)))
    np.savez(directory / "state.npz", *arrays)  # type: ignore[arg-type]


def load(directory: Path) -> Any:
    """Returns what `save` has written; tuples have become lists."""
    with np.load(directory / "state.npz", allow_pickle=False) as arrays:

        def decode(value: Any) -> Any:
            if isinstance(value, dict) and list(value) == [_ARRAY]:
                array = arrays[f"arr_{value[_ARRAY]}"]
                return array if array.shape else array[()]
            if isinstance(value, dict):
                return {key: decode(each) for key, each in value.items()}
            if isinstance(value, list):
                return [decode(each) for each in value]
            return value

        return decode(json.loads((directory / "state.json").read_text()))
