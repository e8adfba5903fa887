"""Reads flags into the fields of a dataclass, and lists them for a record."""

import dataclasses
from types import ModuleType
from typing import Any, TypeVar

from absl import flags

FLAGS = flags.FLAGS
T = TypeVar("T")


def change_by_flags(recipe: T) -> T:
    """Returns a recipe with the value of each flag that is named like a field and not None.

    Args:
        recipe: a frozen dataclass; a field without a flag of its name stays as it is.

    Example:
        >>> change_by_flags(RECIPES["digits"])  # with --epochs=3
        Recipe(epochs=3, prune_epochs=40, ...)
    """
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(recipe)  # type: ignore[arg-type]
    values = {each.name: FLAGS[each.name].value for each in fields if each.name in FLAGS}
    given = {name: value for name, value in values.items() if value is not None}
    return dataclasses.replace(recipe, **given)  # type: ignore[type-var]


def list_flags(module: ModuleType) -> dict[str, object]:
    """Returns the names and values of the flags that `--help` shows for a module."""
    return {flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(module)}
