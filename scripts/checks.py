"""What is asked of a command line; values of flags are judged by kprune, which knows them."""

from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags

import kprune

flags.disclaim_key_flags()  # what is defined here belongs to whoever asks for it


def known(name: str, get: Callable[[Any], Any]) -> None:
    """Lets kprune say whether a flag names something, and what would.

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
    """Raises for arguments that are no flags.

    Args:
        argv: as `absl.app` gives it to `main`, the program first.

    Raises:
        app.UsageError: there are some.
    """
    if len(argv) > 1:
        raise app.UsageError(f"got {' '.join(argv[1:])}; expected flags alone. Write --help")
