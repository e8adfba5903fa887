"""Programs, run as from the command line: in a process of their own, for flags are global."""

import os
import subprocess
import sys


def run(program, *arguments, directory=None, good=True):
    """Runs a program; returns what it printed, errors too where it is to fail."""
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert (done.returncode == 0) == good, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout if good else done.stdout + done.stderr
