"""Registers the members of families with Keras, and resolves their names and configs."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import keras
import numpy as np

from kprune._support import signatures, validation

C = TypeVar("C", bound=type)
M = TypeVar("M", bound="Member")


def register(cls: C) -> C:
    """Makes Keras able to save and load objects of a class, under the package name `kprune`.

    A call of the class whose arguments do not fit is explained.
    """
    registered = keras.saving.register_keras_serializable(package="kprune")(cls)
    return signatures.explain_constructor(registered)  # type: ignore[no-any-return]


class Member:
    """Represents a member of a family: a frozen record whose constructor arguments are its config.

    Subclasses are frozen dataclasses. Fields with `metadata={"config": False}`, such as data
    sets, stay out of the config.
    """

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, ready for JSON."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {
            field.name: _to_json(getattr(self, field.name))
            for field in fields
            if field.metadata.get("config", True)
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Makes the member that `get_config` described.

        Raises:
            ValueError: an argument is a lambda, which Keras loads only after
                `keras.config.enable_unsafe_deserialization()`.
        """
        return cls(**{name: _from_json(value) for name, value in config.items()})


def snake_case(name: str) -> str:
    """Returns `class_blind` for `ClassBlind`, and `erk` for `ERK`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def resolve(
    identifier: Any,
    family: type[M],
    members: Mapping[str, Callable[[], M]],
    argument: str,
    other_names: Mapping[str, str] = {},  # noqa: B006
) -> M:
    """Returns the member that a name, a config or an instance stands for.

    Args:
        identifier: a name among `members`, a config made by Keras's serialization, or a member.
        family: the class that all members share.
        members: what each name makes.
        argument: the argument's name, for the error.
        other_names: names of other packages, each with the member that the error suggests.

    Raises:
        ValueError: the identifier is a string, but not the name of a member.
        TypeError: the identifier is neither a name, a config nor a member.

    Example:
        >>> from kprune import schedules
        >>> members = {"constant": lambda: schedules.Constant(0.5)}
        >>> resolve("constant", schedules.Schedule, members, "schedule")
        Constant(final_sparsity=0.5, begin_step=0)
    """
    if isinstance(identifier, family):
        return identifier
    if _is_config(identifier):
        identifier = keras.saving.deserialize_keras_object(dict(identifier))
        if isinstance(identifier, family):
            return identifier
    names = ", ".join(f'"{name}"' for name in members)
    if not isinstance(identifier, str):
        raise TypeError(
            f"{argument}={validation.describe_kind(identifier)}; expected one of {names}, or a "
            f"kprune {family.__name__}. {_suggest_member(identifier, family, members, argument)}"
        )
    if identifier not in members:
        near = other_names.get(identifier.lower()) or validation.nearest(identifier, [*members])
        raise ValueError(
            f"{argument}={identifier!r} names no {argument}; expected one of {names}. "
            f"Write {argument}={_quote(near or next(iter(members)))}."
        )
    return members[identifier]()


def _quote(name: str) -> str:
    """Returns a name in quotes, and a call such as `kprune.patterns.Block((4, 1))` as it is."""
    return name if name.startswith("kprune.") else repr(name)


def _suggest_member(
    identifier: Any, family: type[Any], members: Mapping[str, Any], argument: str
) -> str:
    """Returns the line to write for what is no name, no config and no member."""
    if isinstance(identifier, type) and issubclass(identifier, family):
        package = family.__module__.split(".")[1]
        package = "criteria" if package.startswith("_") else package  # the estimators of OBD
        name = f"kprune.{package}.{identifier.__name__}"
        return f"Write {argument}={name}(), an instance."
    if hasattr(identifier, "shape"):
        return f'Write {argument}="{next(iter(members))}"; data goes into one tuple (x, y).'
    return f'Write {argument}="{next(iter(members))}".'


def validate_sparsity(value: Any, argument: str = "sparsity") -> float:
    """Returns a sparsity as a float.

    Raises:
        ValueError: it is not a number in [0, 1).
    """
    if not validation.is_number(value) or not 0 <= value < 1:
        raise ValueError(
            f"{argument}={validation.describe(value)}; expected the fraction of weights that "
            "become zero, at least 0 and less than 1. "
            f"Write {argument}={suggest_sparsity(value)}."
        )
    return float(value)


def validate_sparsities(values: Any, argument: str = "sparsity") -> dict[str, float]:
    """Returns the sparsity of each class.

    Raises:
        TypeError: it is no mapping from names.
        ValueError: it is empty, or a value is not a number in [0, 1).
    """
    line = f'Write {argument}={{"dense": 0.9}}, with names out of kprune.report(model).classes.'
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise TypeError(
            f"{argument}={validation.describe_kind(values)}; expected a mapping from the name of a "
            f"class to its sparsity. {line}"
        )
    if not values:
        raise ValueError(f"{argument}={{}} is empty; expected a sparsity for a class. {line}")
    return {
        name: validate_sparsity(value, f"{argument}[{name!r}]") for name, value in values.items()
    }


def suggest_sparsity(value: Any) -> float:
    """Returns what was probably meant: 0.9 for 90, 0.5 for "0.5" and "50%"."""
    if isinstance(value, str):
        text = value.strip()
        if not re.fullmatch(r"\d*\.?\d+ ?%?", text):
            return 0.9
        value = float(text.rstrip("% "))
    if not validation.is_number(value) or not 0 < value < 100 or value == 1:
        return 0.9
    return float(value) if value < 1 else float(value) / 100


def _to_json(value: Any) -> Any:
    """Turns an argument of a member into what JSON holds."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(name): _to_json(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_to_json(item) for item in value]
    if isinstance(value, Member) or callable(value):
        return keras.saving.serialize_keras_object(value)
    return value


def _from_json(value: Any) -> Any:
    """Returns the member or function that a config among the arguments describes."""
    return keras.saving.deserialize_keras_object(dict(value)) if _is_config(value) else value


def _is_config(value: Any) -> bool:
    return isinstance(value, Mapping) and {"class_name", "config"} <= set(value)
