"""Validates arguments: each error says what came, what was expected, and the line to write."""

import contextlib
import difflib
import inspect
import math
import numbers
import os
import reprlib
from collections.abc import Sequence
from typing import Any

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


def describe(value: Any) -> str:
    """Returns what a value looks like in a message: short, whatever it is.

    Example:
        >>> describe("l1"), describe(dict)
        ("'l1'", 'the class dict')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if hasattr(value, "dtype") and getattr(value, "shape", ()) != ():
        return f"an array of shape {tuple(value.shape)}"
    return _REPR.repr(value)


def describe_kind(value: Any) -> str:
    """Returns a value with its type: `'5', a str`."""
    if value is None or isinstance(value, type) or hasattr(value, "shape"):
        return describe(value)
    name = type(value).__name__
    return f"{describe(value)}, {'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def is_whole(value: Any) -> bool:
    """Returns whether a value is a whole number, of Python or NumPy; a bool is none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Returns whether a value is a finite number, of Python or NumPy; a bool is none."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def require_whole(
    value: Any, name: str, minimum: int = 1, write: Any = None, maximum: float = math.inf
) -> int:
    """Returns a whole number.

    Args:
        value: what came.
        name: the argument's name.
        minimum: the least that is accepted.
        write: the value in the line to write. Default: `minimum`.
        maximum: the most that is accepted.

    Raises:
        ValueError: it is not one, or out of range.
    """
    if is_whole(value) and minimum <= value <= maximum:
        return int(value)
    span = f"at least {minimum}" if maximum == math.inf else f"from {minimum} to {maximum}"
    raise ValueError(
        f"{name}={describe(value)}; expected a whole number, {span}. "
        f"Write {name}={minimum if write is None else write}."
    )


def require_number(
    value: Any,
    name: str,
    write: Any,
    minimum: float = 0.0,
    maximum: float = math.inf,
    above: bool = False,
) -> float:
    """Returns a finite number.

    Args:
        value: what came.
        name: the argument's name.
        write: the value in the line to write.
        minimum: the least that is accepted.
        maximum: the most that is accepted.
        above: whether `minimum` itself is refused.

    Raises:
        ValueError: it is not one, or out of range.
    """
    if is_number(value) and minimum <= value <= maximum and not (above and value == minimum):
        return float(value)
    span = f"more than {minimum:g}" if above else f"at least {minimum:g}"
    if maximum != math.inf:
        span += f" and at most {maximum:g}"
    raise ValueError(f"{name}={describe(value)}; expected a number, {span}. Write {name}={write}.")


def require_choice(value: Any, name: str, choices: Sequence[Any], write: Any = None) -> None:
    """Raises ValueError if a value is none of some words.

    Args:
        value: what came.
        name: the argument's name.
        choices: the words, `None` possibly among them.
        write: the word in the line to write. Default: the nearest, or the first.
    """
    if any(value is choice for choice in choices):
        return
    if isinstance(value, str) and value in choices:
        return
    words = [choice for choice in choices if isinstance(choice, str)]
    shown = ", ".join(_quote(choice) for choice in choices[:-1]) + f" or {_quote(choices[-1])}"
    near = nearest(value, words) or (words[0] if write is None else write)
    raise ValueError(f"{name}={describe(value)}; expected {shown}. Write {name}={_quote(near)}.")


def require_flag(value: Any, name: str) -> None:
    """Raises TypeError if a value is neither true nor false.

    Args:
        value: what came.
        name: the argument's name.
    """
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"{name}={describe(value)}; expected True or False. Write {name}=True.")


def require_function(function: Any, name: str, write: str) -> None:
    """Raises TypeError if a value is not a function of one argument.

    Args:
        function: what came.
        name: the argument's name.
        write: the function in the line to write.
    """
    try:
        if isinstance(function, type) or not callable(function):
            raise TypeError("it cannot be called")
        with contextlib.suppress(ValueError):  # one in C, whose signature is not known
            inspect.signature(function).bind(None)
    except TypeError as error:
        raise TypeError(
            f"{name}={describe_kind(function)}; expected a function of one argument, but {error}. "
            f"Write {name}={write}."
        ) from error


def require_path(path: Any, call: str) -> None:
    """Raises if a value is not the path of a file or directory.

    Args:
        path: what came.
        call: the line to write.

    Raises:
        TypeError: it is neither a string nor a `pathlib.Path`.
        ValueError: it is empty.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"path={describe_kind(path)}; expected a string or a pathlib.Path. Write {call}."
        )
    if "\0" in os.fsdecode(path):
        raise ValueError(
            f"path={os.fsdecode(path)!r} holds a null character; expected none. Write {call}."
        )
    if not os.fspath(path):
        raise ValueError(
            f"path={os.fspath(path)!r} is empty; expected where to write, relative or absolute. "
            f"Write {call}."
        )


def require_file(path: Any, call: str) -> None:
    """Raises if a value is not the path of an existing file.

    Args:
        path: what came.
        call: the line to write.

    Raises:
        TypeError: it is neither a string nor a `pathlib.Path`.
        ValueError: it is empty.
        OSError: there is no such file (`FileNotFoundError`), or it is a directory
            (`IsADirectoryError`).
    """
    require_path(path, call)
    if os.path.isdir(path):
        raise IsADirectoryError(f"{os.fspath(path)} is a directory; expected a file. Write {call}.")
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{os.fspath(path)} does not exist; expected a file, relative to {os.getcwd()} or "
            f"absolute. Write {call} first."
        )


def nearest(name: Any, names: Sequence[str]) -> str | None:
    """Returns the name that was probably meant, or `None` where none is near."""
    if not isinstance(name, str):
        return None
    lowered = name.lower().replace("-", "_").replace(" ", "_")
    found = difflib.get_close_matches(lowered, names, n=1)
    return found[0] if found else None


def _quote(choice: Any) -> str:
    return f'"{choice}"' if isinstance(choice, str) else str(choice)
