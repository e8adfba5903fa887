"""Wrong calls: the documented error, with the line to write, and nothing else changed."""

import re

import pytest
from wrong_calls import World, core, criteria, export, members, training

TABLES = {each.__name__.split(".")[1]: each for each in (core, members, criteria, training, export)}
CALLS = {
    f"{topic}: {table.lower()}: {name}": call
    for topic, module in TABLES.items()
    for table, rows in vars(module).items()
    if table.isupper() and isinstance(rows, dict)
    for name, call in rows.items()
    if hasattr(call, "words")
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield World(folder)


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call(world, name):
    row, before = CALLS[name], world.fingerprint()
    with pytest.raises(row.error) as caught:
        row.call(world)
    message = str(caught.value)
    for word in (*row.words, "xpected"):
        assert word.replace('"', "'") in message.replace('"', "'"), message
    assert re.search(r"\b[Ww]rite ", message), message
    assert len(message) < 1500
    assert world.fingerprint() == before


def test_there_are_more_than_two_hundred():
    assert len(CALLS) >= 200
