"""Names from before the tree was drawn: they still work, and say the new one."""

import pytest

import kprune
from kprune._support.old_names import RENAMED


@pytest.mark.parametrize("name", RENAMED)
def test_an_old_name_leads_to_the_new_one(name):
    with pytest.warns(DeprecationWarning, match=f"kprune.{name} is now kprune"):
        found = kprune
        for part in name.split("."):
            found = getattr(found, part)
    new = RENAMED[name]
    if not new.startswith("_"):
        expected = kprune
        for part in new.split("."):
            expected = getattr(expected, part)
        assert found is expected
    assert found.__doc__ and name.split(".")[0] not in dir(kprune)


def test_other_names_are_refused():
    for name in ("no_such_name", "sharing.no_such_name"):
        with pytest.raises(AttributeError, match="has no attribute"):
            found = kprune
            for part in name.split("."):
                found = getattr(found, part)
