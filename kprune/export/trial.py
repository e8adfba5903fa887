"""A .tflite file on trial: run in the stock interpreters, and held against its dense sister."""

import atexit
import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np

from kprune._support.typing import Array
from kprune.export import conversion, interpreter, verification
from kprune.export._tflite import encodings

# Fractions of the largest output. Quantized activations may be far off without the file being
# wrong, so there are sharper checks than the one against the Keras model. Of a sparse file against
# its dense sister: DENSIFY is exact, float32 blocks are summed in another order, and the kernels
# for int8 blocks may round otherwise. Of XNNPACK against TFLite's own kernels: both round, and
# differ by up to 0.02 on networks as deep as ResNet50, but by 0.25 to 2 where XNNPACK goes wrong,
# as it does on int8 attention.
TOLERANCES = {None: 1e-4, "float16": 2e-2, "dynamic": 0.5, "int8": 0.5, "int16x8": 0.05}
SPARSE_TOLERANCES = {None: 1e-4, "float16": 1e-4, "dynamic": 0.05, "int8": 0.05, "int16x8": 0.0}
XNNPACK_TOLERANCE = 0.1
RUNTIMES = {"tensorflow": "tensorflow", "litert": "ai_edge_litert"}  # and their packages

Runs = Sequence[Mapping[str, Array]]


@dataclasses.dataclass(frozen=True)
class Run:
    """What came of running a file.

    Args:
        outputs: for each run, an array for each output.
        load_seconds: from the file to allocated tensors, weights unpacked.
        peak_bytes: by how much the process grew at the most; `None` where the system tells not.
    """

    outputs: list[verification.Values]
    load_seconds: float
    peak_bytes: int | None


def runtimes() -> list[str]:
    """Returns the interpreters that are installed: TensorFlow's, and LiteRT's where it is."""
    return [name for name, package in RUNTIMES.items() if importlib.util.find_spec(package)]


def dense(file: Path, runs: Runs, export: conversion.Conversion) -> dict[str, Run]:
    """Runs a file of dense tensors in every interpreter; where quantized, without XNNPACK too.

    Args:
        file: the file.
        runs: inputs by their names, for each run.
        export: how the file was made.

    Raises:
        ExportError: the file does not run, or XNNPACK computes something else.
    """
    try:
        results = everywhere(file, runs)
        if export.quantization in ("dynamic", "int8"):
            verification.agree(
                results["tensorflow"].outputs,
                run(file, runs, xnnpack=False).outputs,
                XNNPACK_TOLERANCE,
                "the same file without XNNPACK, which is on by default",
                encodings.step(file),
            )
    except verification.ExportError as error:
        other = "dynamic" if export.quantization == "int8" else None
        raise verification.ExportError(
            f"the dense {export.quantization or 'float32'} file for {os.fspath(export.path)} was "
            f"not written: {error}. Expected a model that TFLite runs right in this precision. "
            f"Write {conversion.line(export.path, other, sparse=False)}."
        ) from error
    return results


def sparse(
    file: Path, sister: Path, runs: Runs, reference: Mapping[str, Run], quantization: str | None
) -> dict[str, Run]:
    """Runs a file with sparse tensors in every interpreter, and compares it with its dense sister.

    Args:
        file: the file.
        sister: the same model in the same precision, with its zeros stored.
        runs: inputs by their names, for each run.
        reference: what came of running the sister.
        quantization: the precision of both.

    Raises:
        ExportError: it does not run, or stores or computes something else.
    """
    if name := encodings.differing(file, sister):
        raise verification.ExportError(f"{name} has another value than in the dense file")
    results = everywhere(file, runs)
    for runtime, result in results.items():
        verification.agree(
            result.outputs,
            reference[runtime].outputs,
            SPARSE_TOLERANCES[quantization],
            f"the same file stored densely, in {runtime}",
            encodings.step(file),
        )
    return results


def everywhere(path: Path, runs: Runs) -> dict[str, Run]:
    """Runs a file in every interpreter that is installed, side by side."""
    names = runtimes()
    with futures.ThreadPoolExecutor(len(names)) as pool:
        results = pool.map(lambda name: run(path, runs, name), names)
        return dict(zip(names, results, strict=True))


def run(path: Path, runs: Runs, runtime: str = "tensorflow", xnnpack: bool = True) -> Run:
    """Runs a .tflite file in a stock interpreter, in a child process.

    Args:
        path: the file.
        runs: inputs by their names, for each run.
        runtime: "tensorflow" or "litert".
        xnnpack: whether XNNPACK takes the operators that it can, as it does by default.

    Raises:
        ExportError: the interpreter refuses the file or dies of it.
    """
    with tempfile.TemporaryDirectory() as directory:
        outputs = Path(directory, "outputs.npz")
        given = _write(directory, runs)
        told = _child(runtime).ask("run", os.path.abspath(path), given, str(outputs), xnnpack)
        results: list[verification.Values] = [{} for _ in runs]
        with np.load(outputs) as found:
            for key in found.files:
                index, output = key.split("/", 1)
                results[int(index)][output] = found[key]
    return Run(results, **told)


def race(
    paths: Sequence[Path], inputs: Mapping[str, Array], seconds: float, threads: int
) -> list[list[float]]:
    """Times calls of several files in turn, and returns the seconds of each call of each file.

    The newest interpreter that is installed runs them, in one child process.

    Args:
        paths: the files.
        inputs: of the call.
        seconds: how long to go on; three calls of each file are made at least.
        threads: of the interpreter.
    """
    with tempfile.TemporaryDirectory() as directory:
        given = _write(directory, [inputs])
        files = map(os.path.abspath, paths)
        told = _child(runtimes()[-1]).ask("race", given, seconds, threads, *files)
    times: list[list[float]] = told["seconds"]
    return times


def _write(directory: str, runs: Runs) -> str:
    path = os.path.join(directory, "inputs.npz")
    arrays = {f"{i}/{key}": value for i, run in enumerate(runs) for key, value in run.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


class Child:
    """The program of `interpreter` in a process of its own, which answers one request at a time.

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
            ExportError: the interpreter refuses a file or dies of it.
        """
        try:
            with self.lock:
                assert self.process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # it is dead; `read` says of what
                    self.process.stdin.write(json.dumps(request) + "\n")
                    self.process.stdin.flush()
                result: dict[str, Any] = self.read()["result"]
            if not self.forks:
                self.end()
            return result
        except verification.ExportError:
            raise
        except BaseException:  # interrupted: its answer would be taken for that of the next
            self.end()
            raise

    def read(self) -> dict[str, Any]:
        """Reads an answer; errors become exceptions."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else self._last_words()
        if number := answer.get("signal"):
            cause = str(number)
            with contextlib.suppress(ValueError):
                cause = signal.Signals(number).name
            raise verification.ExportError(
                f"the stock {self.name} interpreter died of it ({cause})"
            )
        if error := answer.get("error"):
            words = textwrap.shorten(error, 300, placeholder=" ...")
            raise verification.ExportError(
                f"the stock {self.name} interpreter refuses it ({words})"
            )
        return answer

    def _last_words(self) -> dict[str, Any]:
        status = self.process.wait()
        return {"signal": -status} if status < 0 else {"error": "without a word"}

    def end(self) -> None:
        """Ends the process."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()  # the end of stdin ends the program, and what it runs
        self.process.wait()


_children: dict[tuple[int, str], Child] = {}
_lock = threading.Lock()


def _child(runtime: str) -> Child:
    """Returns the process of a runtime, started at the first file and again where it has ended."""
    key = os.getpid(), runtime  # a fork of this process has children of its own
    with _lock:
        child = _children.get(key)
        if child is not None and child.process.poll() is not None:
            child.end()
            child = None
        if child is None:
            child = _children[key] = Child(runtime)
        return child


@atexit.register
def _end_children() -> None:
    for (parent, _), child in _children.items():
        if parent == os.getpid():
            child.end()
    _children.clear()
