"""Runs .tflite files in TensorFlow's and LiteRT's interpreters, and compares the outputs."""

import dataclasses
import importlib.util
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent import futures
from pathlib import Path

import numpy as np

from kprune._support.typing import Array
from kprune.export import _verification
from kprune.export._tflite import conversion, interpreter_process
from kprune.export._tflite.format import encodings

# Fractions of the largest output. Quantized activations may be far off without the file being
# wrong, so there are sharper checks than the one against the Keras model. Of a sparse file against
# the dense file: DENSIFY is exact, float32 blocks are summed in another order, and the kernels
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
    """Describes a run of a file.

    Args:
        outputs: for each set of inputs, an array for each output.
        load_seconds: from the file to allocated tensors, weights unpacked.
        peak_bytes: by how much the process grew at its peak; `None` where the system does not say.
    """

    outputs: list[_verification.Values]
    load_seconds: float
    peak_bytes: int | None


def runtimes() -> list[str]:
    """Returns the interpreters that are installed: TensorFlow's, and LiteRT's where it is."""
    return [name for name, package in RUNTIMES.items() if importlib.util.find_spec(package)]


def run_dense(file: Path, runs: Runs, export: conversion.Conversion) -> dict[str, Run]:
    """Runs a file of dense tensors in every interpreter; where quantized, without XNNPACK too.

    Args:
        file: the file.
        runs: inputs by their names, for each run.
        export: how the file was made.

    Raises:
        ExportError: the file does not run, or XNNPACK computes something else.
    """
    try:
        results = run_everywhere(file, runs)
        if export.quantization in ("dynamic", "int8"):
            _verification.agree(
                results["tensorflow"].outputs,
                run(file, runs, xnnpack=False).outputs,
                XNNPACK_TOLERANCE,
                "the same file without XNNPACK, which is on by default",
                encodings.output_step(file),
            )
    except _verification.ExportError as error:
        other: conversion.Precision = "dynamic" if export.quantization == "int8" else None
        raise _verification.ExportError(
            f"the dense {export.quantization or 'float32'} file for {os.fspath(export.path)} was "
            f"not written: {error}. Expected a model that TFLite runs right in this precision. "
            f"Write {conversion.format_call(export.path, other, sparse=False)}."
        ) from error
    return results


def run_sparse(
    file: Path,
    dense_file: Path,
    runs: Runs,
    reference: Mapping[str, Run],
    quantization: str | None,
) -> dict[str, Run]:
    """Runs a file with sparse tensors in every interpreter, and compares it with the dense file.

    Args:
        file: the file.
        dense_file: the same model in the same precision, with its zeros stored.
        runs: inputs by their names, for each run.
        reference: the runs of the dense file.
        quantization: the precision of both.

    Raises:
        ExportError: it does not run, or stores or computes something else.
    """
    if name := encodings.find_difference(file, dense_file):
        raise _verification.ExportError(f"{name} has another value than in the dense file")
    results = run_everywhere(file, runs)
    for runtime, result in results.items():
        _verification.agree(
            result.outputs,
            reference[runtime].outputs,
            SPARSE_TOLERANCES[quantization],
            f"the same file stored densely, in {runtime}",
            encodings.output_step(file),
        )
    return results


def run_everywhere(path: Path, runs: Runs) -> dict[str, Run]:
    """Runs a file in every interpreter that is installed, side by side."""
    names = runtimes()
    with futures.ThreadPoolExecutor(len(names)) as pool:
        results = pool.map(lambda name: run(path, runs, name), names)
        return dict(zip(names, results, strict=True))


def run(path: Path, runs: Runs, runtime: str = "tensorflow", xnnpack: bool = True) -> Run:
    """Runs a .tflite file in an interpreter, in a child process.

    Args:
        path: the file.
        runs: inputs by their names, for each run.
        runtime: "tensorflow" or "litert".
        xnnpack: whether XNNPACK takes the operators that it can, as it does by default.

    Raises:
        ExportError: the interpreter cannot run the file, or crashes.
    """
    with tempfile.TemporaryDirectory() as directory:
        outputs = Path(directory, "outputs.npz")
        given = _write(directory, runs)
        told = interpreter_process.of_runtime(runtime).ask(
            "run", os.path.abspath(path), given, str(outputs), xnnpack
        )
        results: list[_verification.Values] = [{} for _ in runs]
        with np.load(outputs) as found:
            for key in found.files:
                index, output = key.split("/", 1)
                results[int(index)][output] = found[key]
    return Run(results, **told)


def compare_latency(
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
        told = interpreter_process.of_runtime(runtimes()[-1]).ask(
            "compare_latency", given, seconds, threads, *files
        )
    times: list[list[float]] = told["seconds"]
    return times


def _write(directory: str, runs: Runs) -> str:
    path = os.path.join(directory, "inputs.npz")
    arrays = {f"{i}/{key}": value for i, run in enumerate(runs) for key, value in run.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path
