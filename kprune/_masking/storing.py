"""Saves and loads the variables beside weights by the path of the weight they belong to.

Keras saves the variables of a layer by number. The order in which weights were wrapped may differ
between the model that was saved and the one that loads; the place of a weight in the model does
not.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib import parse

import keras
import numpy as np

from kprune._keras import saving, step_variables
from kprune._masking.locations import Location
from kprune._support import warning
from kprune._support.typing import Array


def paths(owner: keras.layers.Layer | None, locations: Sequence[Location]) -> list[str]:
    """Returns for each weight its path below a model or layer, as Keras's files have it.

    Args:
        owner: holds the weights; `None` where it is gone.
        locations: where the weights live. Those of one path are numbered in their order.
    """
    saved = {} if owner is None else saving.saved_paths(owner)
    found: list[str] = []
    counts: dict[str, int] = {}
    for location in locations:
        path = f"{saved.get(id(location.layer), '?')}/{location.variable.name}".lstrip("/")
        counts[path] = counts.get(path, 0) + 1
        found.append(path if counts[path] == 1 else f"{path}#{counts[path]}")
    return found


def save(store: Any, variables: Mapping[str, keras.Variable]) -> None:
    """Writes variables under the paths of their weights."""
    for path, variable in variables.items():
        store[parse.quote(path, safe="")] = variable  # a slash would be a folder in the file


def load(store: Any, variables: Mapping[str, keras.Variable], what: str) -> None:
    """Reads variables by path; those that the file lacks stay, which is a warning.

    Files of kprune 0.2.0 and before number the variables: there they are taken in their order, if
    number and shapes agree.

    Args:
        store: a group of a file that Keras has opened, not empty.
        variables: those of the model, by the path of the weight.
        what: what they are, for messages.

    Raises:
        ValueError: the file has none of them, or one of another shape. Then none is changed.
    """
    keys = list(store.keys())
    if all(key.isdecimal() for key in keys):
        if len(keys) != len(variables):
            raise ValueError(
                f"The file numbers its {what} and has {len(keys)}, this model has "
                f"{len(variables)}; expected a file of the same model, wrapped in the same way. "
                "Write kprune.wrap(model) with the include= and exclude= of the saved model."
            )
        arrays = {path: np.asarray(store[str(i)]) for i, path in enumerate(variables)}
        missing, others = [], []
    else:
        saved = {parse.unquote(key): key for key in keys}
        missing = [path for path in variables if path not in saved]
        others = [path for path in saved if path not in variables]
        if len(missing) == len(variables):
            raise ValueError(
                f"The file has {what} of {_listed(others)}, and none of {_listed(missing)}; "
                "expected a file of this model. Write kprune.wrap(model) for the model that was "
                "saved."
            )
        arrays = {path: np.asarray(store[saved[path]]) for path in variables if path in saved}
    _check_shapes(arrays, variables, what)
    for path, array in arrays.items():
        step_variables.assign(variables[path], array)
    if missing:
        warning.warn(
            f"The file has no {what} of {_listed(missing)}, which stay as they are. If that is "
            "not meant, write kprune.wrap(model) with the include= and exclude= of the saved "
            "model.",
        )
    if others:
        warning.warn(
            f"The file has {what} of {_listed(others)}, which are not wrapped here and lose their "
            "zeros in training. Write kprune.wrap(model) before model.load_weights to keep them.",
        )


def _check_shapes(
    arrays: Mapping[str, Array], variables: Mapping[str, keras.Variable], what: str
) -> None:
    for path, array in arrays.items():
        expected = tuple(variables[path].shape)
        if array.shape != expected:
            raise ValueError(
                f"The file's {what} of {path} have the shape {array.shape}; expected {expected}, "
                "as in this model. Build the model that was saved, and write "
                "kprune.wrap(model) before model.load_weights."
            )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")
