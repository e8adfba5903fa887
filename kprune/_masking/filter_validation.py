"""Validates filters of weights, and what says how weights group into classes."""

import re
from collections.abc import Mapping
from typing import Any

import keras

from kprune._support import validation


def validate_filters(include: Any, exclude: Any) -> None:
    """Raises TypeError or ValueError if `include` or `exclude` holds what is no filter."""
    for name, filters in (("include", include), ("exclude", exclude)):
        for each in filters if isinstance(filters, (list, tuple, set)) else (filters,):
            if isinstance(each, str):
                validate_regex(each, name)
            elif each is not filters or each is not None:
                _validate_filter(each, name)


def validate_classes(classes: Any) -> None:
    """Raises TypeError or ValueError if `classes` does not say how weights group."""
    if isinstance(classes, Mapping):
        for name, regex in classes.items():
            validate_regex(regex, f"classes[{name!r}]")
    elif callable(classes) and not isinstance(classes, type):
        validation.require_function(classes, "classes", "lambda location: location.kind")
    else:
        validation.require_choice(classes, "classes", ("layer", "weight", "kind"))


def validate_regex(regex: Any, name: str) -> None:
    """Raises TypeError or ValueError if a value is not a pattern of paths."""
    if not isinstance(regex, str):
        raise TypeError(
            f"{name}={validation.describe_kind(regex)}; expected parts of a path or a regex, which "
            f'are searched in the paths of weights. Write {name}="dense".'
        )
    try:
        re.compile(regex)
    except re.error as error:
        raise ValueError(
            f"{name}={regex!r} is no regex: {error}; expected one, or parts of a path. "
            f"Write {name}={re.escape(regex)!r} for these characters themselves."
        ) from error


def _validate_filter(each: Any, name: str) -> None:
    if isinstance(each, (type, keras.layers.Layer, keras.Variable)):
        return
    if callable(each):
        validation.require_function(each, name, 'lambda variable: variable.name == "table"')
    else:
        raise TypeError(
            f"{name}={validation.describe_kind(each)}; expected parts of a path, a regex, a layer, "
            "a class of layers, a variable, a function of one, or a list of these. "
            f'Write {name}="dense".'
        )
