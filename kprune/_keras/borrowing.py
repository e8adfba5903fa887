"""Replaces an attribute of somebody else's object for the duration of a block."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

_ATTRIBUTE = "_kprune_borrowed"


@dataclasses.dataclass(eq=False)
class _Borrowed:
    """What an attribute was, and who has replaced it since, the first one innermost."""

    own: Any
    is_stored: bool  # in the object itself, rather than in its class
    layers: list[Callable[[Any], Any]] = dataclasses.field(default_factory=list)
    shown: Any = None

    def compose(self) -> Any:
        """Returns the attribute as all borrowers together have it."""
        value = self.own
        for layer in self.layers:
            value = layer(value)
        return value


@contextlib.contextmanager
def patched(owner: Any, name: str, replace: Callable[[Any], Any]) -> Iterator[None]:
    """Lets an attribute be `replace(value)` during a block, whatever else borrows it meanwhile.

    Blocks may end in any order: two callbacks of one `fit` begin as A, B and end as A, B. So the
    original is kept once, and the attribute is composed anew of those who still borrow it. Where
    somebody else has set the attribute meanwhile, it is theirs and stays.

    Args:
        owner: the object; its attribute is set past Keras's tracker.
        name: the attribute's name. One that the class alone has is removed again at the end.
        replace: maps the value, original or already replaced, to the one that goes before it.

    Example:
        >>> class Thing:
        ...     value = 1
        >>> thing = Thing()
        >>> with patched(thing, "value", lambda value: value + 1):
        ...     thing.value
        2
        >>> thing.value
        1
    """
    borrowed = vars(owner).setdefault(_ATTRIBUTE, {})
    if name in borrowed and getattr(owner, name) is not borrowed[name].shown:
        del borrowed[name]  # somebody has set it since: that is the original now
    if name not in borrowed:
        descriptor = getattr(type(owner), name, None)
        is_stored = name in vars(owner) or hasattr(type(descriptor), "__set__")
        borrowed[name] = _Borrowed(getattr(owner, name), is_stored)
    here = borrowed[name]
    here.layers.append(replace)
    _show(owner, name, here)
    try:
        yield
    finally:
        _give_back(owner, name, here, replace)


def _give_back(owner: Any, name: str, here: _Borrowed, replace: Callable[[Any], Any]) -> None:
    here.layers.remove(replace)
    held = vars(owner).get(_ATTRIBUTE, {})
    if held.get(name) is not here:
        return
    if getattr(owner, name) is not here.shown:
        del held[name]
    elif here.layers:
        _show(owner, name, here)
    else:
        if here.is_stored:
            object.__setattr__(owner, name, here.own)
        else:
            object.__delattr__(owner, name)
        del held[name]
    if not held:
        vars(owner).pop(_ATTRIBUTE, None)


def _show(owner: Any, name: str, here: _Borrowed) -> None:
    here.shown = here.compose()
    object.__setattr__(owner, name, here.shown)
