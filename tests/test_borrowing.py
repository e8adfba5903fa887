"""Attributes borrowed from Keras's objects: composed, and given back in any order."""

import keras
import pytest

from kprune._keras import borrowing


class Thing:
    """An object with an attribute of each kind."""

    in_class = "class"

    def __init__(self):
        self.stored = "stored"
        self._hidden = "property"

    @property
    def computed(self):
        return self._hidden

    @computed.setter
    def computed(self, value):
        self._hidden = value


@pytest.mark.parametrize("name", ["in_class", "stored", "computed"])
@pytest.mark.parametrize("first_out", ["outer", "inner"])
def test_two_borrowers_end_in_any_order(name, first_out):
    thing = Thing()
    own, before = getattr(thing, name), dict(vars(thing))
    outer = borrowing.patched(thing, name, lambda value: value + " outer")
    inner = borrowing.patched(thing, name, lambda value: value + " inner")
    outer.__enter__()
    inner.__enter__()
    assert getattr(thing, name) == own + " outer inner"
    {"outer": outer, "inner": inner}[first_out].__exit__(None, None, None)
    left = "inner" if first_out == "outer" else "outer"
    assert getattr(thing, name) == f"{own} {left}"
    {"outer": outer, "inner": inner}[left].__exit__(None, None, None)
    assert getattr(thing, name) == own and vars(thing) == before


def test_an_error_gives_back_and_what_somebody_else_has_set_stays():
    thing = Thing()
    with pytest.raises(RuntimeError), borrowing.patched(thing, "stored", str.upper):
        assert thing.stored == "STORED"
        raise RuntimeError
    assert thing.stored == "stored"
    with borrowing.patched(thing, "stored", str.upper):
        thing.stored = "theirs"
        with borrowing.patched(thing, "stored", str.title):
            assert thing.stored == "Theirs"
        assert thing.stored == "theirs"
    assert thing.stored == "theirs" and set(vars(thing)) == {"stored", "_hidden"}


def test_kerass_tracker_sees_nothing():
    layer = keras.layers.Dense(3)
    layer.build((None, 2))
    names = set(vars(layer))
    with borrowing.patched(layer, "bias", lambda bias: "a tensor"):
        assert layer.bias == "a tensor" and len(layer.weights) == 2
    assert set(vars(layer)) == names and layer.bias is layer.weights[1]
