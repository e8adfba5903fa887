"""Keeps one process for each TFLite runtime, in which files are run."""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from typing import Any

from kprune.export import _verification
from kprune.export._tflite import interpreter


class InterpreterProcess:
    """Runs the program of `interpreter` as a process, which answers one request at a time.

    Args:
        runtime: the interpreter that it loads.
    """

    def __init__(self, runtime: str) -> None:
        self.name = {"tensorflow": "TFLite", "litert": "LiteRT"}[runtime]
        self.process = subprocess.Popen(
            # -P: the folder of the program must not come before the standard library.
            [sys.executable, "-P", interpreter.__file__, runtime],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "OPENBLAS_NUM_THREADS": "1",  # NumPy's: a process with threads should not fork
            },
        )
        self.lock = threading.Lock()
        self.forks = self.read()["forks"]

    def ask(self, *request: Any) -> dict[str, Any]:
        """Returns the answer to a request.

        Raises:
            ExportError: the interpreter refuses a file or crashes on it.
        """
        try:
            with self.lock:
                assert self.process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # it has crashed; `read` says how
                    self.process.stdin.write(json.dumps(request) + "\n")
                    self.process.stdin.flush()
                result: dict[str, Any] = self.read()["result"]
            if not self.forks:
                self.end()
            return result
        except _verification.ExportError:
            raise
        except BaseException:  # interrupted: its answer would be taken for that of the next
            self.end()
            raise

    def read(self) -> dict[str, Any]:
        """Reads an answer; errors become exceptions."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else self._describe_end()
        if number := answer.get("signal"):
            cause = str(number)
            with contextlib.suppress(ValueError):
                cause = signal.Signals(number).name
            raise _verification.ExportError(
                f"the {self.name} interpreter crashed on this file ({cause})"
            )
        if error := answer.get("error"):
            words = textwrap.shorten(error, 300, placeholder=" ...")
            raise _verification.ExportError(
                f"the {self.name} interpreter cannot run this file ({words})"
            )
        return answer

    def _describe_end(self) -> dict[str, Any]:
        status = self.process.wait()
        return {"signal": -status} if status < 0 else {"error": "no message"}

    def end(self) -> None:
        """Ends the process."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()  # the end of stdin ends the program, and what it runs
        self.process.wait()


_processes: dict[tuple[int, str], InterpreterProcess] = {}
_lock = threading.Lock()


def of_runtime(runtime: str) -> InterpreterProcess:
    """Returns the process of a runtime, started at the first file and again where it has ended."""
    key = os.getpid(), runtime  # a fork of this process starts its own
    with _lock:
        held = _processes.get(key)
        if held is not None and held.process.poll() is not None:
            held.end()
            held = None
        if held is None:
            held = _processes[key] = InterpreterProcess(runtime)
        return held


@atexit.register
def _end_all() -> None:
    for (parent, _), held in _processes.items():
        if parent == os.getpid():
            held.end()
    _processes.clear()
