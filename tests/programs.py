"""Runs programs as from the command line, without an import of TensorFlow for each.

One process imports what the programs share, and starts no thread. Each program then runs in a fork
of it, in a process of its own as flags demand, but without the five seconds of the imports.
"""

import atexit
import contextlib
import functools
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

SHARED = ("numpy", "tensorflow", "keras", "sklearn.datasets", "kprune", "kprune.export")


def run(program, *arguments, directory=None, good=True):
    """Runs a program, or `-m` a module; returns what it printed, errors too where it is to fail."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        cwd = os.path.abspath(directory or os.getcwd())
        command = [program if program == "-m" else str(Path(program).absolute()), *arguments]
        status = ask(command, cwd, *outputs)
        stdout, stderr = (Path(each).read_text() for each in outputs)
    assert (status == 0) == good, stderr
    assert "Warning" not in stderr, stderr
    return stdout if good else stdout + stderr


@functools.cache
def launcher():
    """The process that imports and forks; it ends when its stdin is closed, with this one."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "OPENBLAS_NUM_THREADS": "1",  # a process with threads should not fork
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
    )

    @atexit.register
    def end():
        process.stdin.close()
        process.wait()

    return process


def ask(*request):
    """Returns the status with which a program ended."""
    process = launcher()
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def serve():
    """Runs the programs that are asked for, one after another."""
    for name in SHARED:
        __import__(name)
    for line in iter(sys.stdin.readline, ""):
        if (child := os.fork()) == 0:
            status = 70
            try:
                status = execute(*json.loads(line))
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def execute(command, directory, stdout, stderr):
    """Runs a program in this process, and returns its exit status."""
    for number, path in ((0, os.devnull), (1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.stdin, sys.stdout, sys.stderr = map(os.fdopen, range(3), "rww")
    signal.alarm(300)
    os.chdir(directory)
    is_module, status = command[0] == "-m", 0
    sys.argv = command[is_module:]
    sys.path[0] = directory if is_module else os.path.dirname(command[0])
    try:
        if is_module:
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return status


if __name__ == "__main__":
    serve()
