"""Checks the values of flags, and that a command line has nothing but flags."""

from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags

import kprune

flags.disclaim_key_flags()  # they belong to the module that calls `sparsity`


def known(name: str, get: Callable[[Any], Any]) -> None:
    """Validates a flag by a function of kprune, whose message says what to write.

    Args:
        name: of a flag that is defined.
        get: raises `TypeError` or `ValueError`, with what to write, where the value is wrong.
    """

    def check(value: Any) -> bool:
        try:
            get(value)
        except (TypeError, ValueError) as error:
            raise flags.ValidationError(str(error)) from error
        return True

    flags.register_validator(name, check)


def sparsity(name: str, default: float, help: str) -> None:
    """Defines a flag of a sparsity in [0, 1)."""
    flags.DEFINE_float(name, default, help)
    known(name, lambda value: kprune._support.registration.validate_sparsity(value, name))


def flags_alone(argv: Sequence[str]) -> None:
    """Raises UsageError for arguments that are not flags.

    Args:
        argv: as `absl.app` gives it to `main`, the program first.

    Raises:
        app.UsageError: there are some.
    """
    if len(argv) > 1:
        raise app.UsageError(f"got {' '.join(argv[1:])}; expected flags alone. Write --help")
