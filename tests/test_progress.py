"""Progress bars: in a terminal, after a second, and nowhere else."""

import os
import pty
import select
from concurrent import futures

import programs
import pytest

from kprune._support import progress

PROGRAM = """
import os, time
os.environ |= {{"TERM": "xterm", "COLUMNS": "100"}}
from kprune._support import progress
progress.SECONDS_BEFORE_SHOWN = {patience}
for _ in progress.track(range(4), "outer work"):
    for _ in progress.track(range(3), "inner work"):
        time.sleep(0.05)
print("done")
"""


def in_a_terminal(tmp_path, patience):
    """Runs the program with a terminal for its standard error; returns what that showed."""
    ours, theirs = pty.openpty()
    program, out = tmp_path / "program.py", tmp_path / "out"
    program.write_text(PROGRAM.format(patience=patience))
    with futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            programs.ask, [str(program)], str(tmp_path), str(out), os.ttyname(theirs)
        )
        shown = b""
        while select.select([ours], [], [], 0.1)[0] or not running.done():
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 4096)
    os.close(theirs)
    os.close(ours)
    assert running.result() == 0 and out.read_text() == "done\n"
    return shown.decode(errors="replace")


def test_a_bar_shows_what_is_done_and_what_is_left(tmp_path):
    shown = in_a_terminal(tmp_path, patience=0.0)
    assert "outer work" in shown and "inner work" in shown
    assert "2/3" in shown and "3/4" in shown and "left" in shown


def test_quick_work_is_silent(tmp_path):
    shown = in_a_terminal(tmp_path, patience=30.0)
    assert "work" not in shown


def test_no_terminal_no_bar(capfd, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BEFORE_SHOWN", -1.0)
    assert list(progress.track(iter("abc"), "work")) == ["a", "b", "c"]
    assert capfd.readouterr().err == ""


def test_a_failure_takes_the_bar_away():
    with pytest.raises(KeyError), progress.show_bar("work", 2) as bar:
        bar.advance()
        raise KeyError
    assert progress._shown is None
