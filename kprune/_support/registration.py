"""Registers the members of families with Keras, and resolves their names and configs."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import keras
import numpy as np

C = TypeVar("C", bound=type)
M = TypeVar("M", bound="Member")


def register(cls: C) -> C:
    """Makes Keras able to save and load objects of a class, under the package name `kprune`."""
    return keras.saving.register_keras_serializable(package="kprune")(cls)  # type: ignore[no-any-return]


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
    identifier: Any, family: type[M], members: Mapping[str, Callable[[], M]], argument: str
) -> M:
    """Returns the member that a name, a config or an instance stands for.

    Args:
        identifier: a name among `members`, a config made by Keras's serialization, or a member.
        family: the class that all members share.
        members: what each name makes.
        argument: the argument's name, for the error.

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
            f"{argument}={identifier!r} is a {type(identifier).__name__}; expected one of {names}, "
            f"or a kprune {family.__name__}. Write {argument}={next(iter(members))!r}."
        )
    if identifier not in members:
        near = difflib.get_close_matches(identifier.lower(), members, n=1) or list(members)
        raise ValueError(
            f"{argument}={identifier!r} names no {argument}; expected one of {names}. "
            f"Write {argument}={near[0]!r}."
        )
    return members[identifier]()


def validate_sparsity(value: Any, argument: str = "sparsity") -> float:
    """Returns a sparsity as a float.

    Raises:
        ValueError: it is not a number in [0, 1).
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(
            f"{argument}={value!r}; expected the fraction of weights that become zero, at least 0 "
            f"and less than 1. Write {argument}={_suggest_sparsity(value)}."
        )
    return float(value)


def _suggest_sparsity(value: Any) -> float:
    """Returns what was probably meant: 0.9 for 90."""
    percent = isinstance(value, (int, float)) and 1 < value < 100
    return value / 100 if percent else 0.9


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
