"""Progress bars: in a terminal, after a second, and nowhere else."""

import os
import pty
import subprocess
import sys

import pytest

from kprune._support import progress

PROGRAM = """
import time
from kprune._support import progress
progress.SECONDS_BEFORE_SHOWN = {patience}
for _ in progress.track(range(4), "outer work"):
    for _ in progress.track(range(3), "inner work"):
        time.sleep(0.05)
print("done")
"""


def in_a_terminal(patience):
    """Runs the program with a terminal for its standard error; returns what that showed."""
    ours, theirs = pty.openpty()
    program = PROGRAM.format(patience=patience)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "TF_CPP_MIN_LOG_LEVEL": "3"}
    running = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    out, _ = running.communicate(timeout=60)
    os.close(ours)
    assert running.returncode == 0 and out == b"done\n"
    return shown.decode(errors="replace")


def test_a_bar_shows_what_is_done_and_what_is_left():
    shown = in_a_terminal(patience=0.0)
    assert "outer work" in shown and "inner work" in shown
    assert "2/3" in shown and "3/4" in shown and "left" in shown


def test_quick_work_is_silent():
    shown = in_a_terminal(patience=30.0)
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
