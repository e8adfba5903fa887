"""A .tflite file on trial: run in the stock interpreter, and held against its dense sister."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kprune.export import conversion, defects, encodings, interpreter, verification

# Fractions of the largest output. Quantized activations may be far off without the file being
# wrong, so there are sharper checks than the one against the Keras model. Of a sparse file against
# its dense sister: DENSIFY is exact, float32 blocks are summed in another order, and each layer of
# the int8 kernel for blocks may round otherwise. Of XNNPACK against TFLite's own kernels: both
# round, and differ by up to 0.02 on networks as deep as ResNet50, but by 0.25 to 2 where XNNPACK
# goes wrong, as it does on int8 attention.
TOLERANCES = {None: 1e-4, "float16": 2e-2, "dynamic": 0.5, "int8": 0.5}
SPARSE_TOLERANCES = {None: 1e-4, "float16": 1e-4, "dynamic": 0.05, "int8": 0.05}
XNNPACK_TOLERANCE = 0.1

Runs = Sequence[Mapping[str, verification.Array]]
Results = list[verification.Values]


def dense(file: Path, runs: Runs, export: conversion.Conversion) -> Results:
    """Runs a file of dense tensors; where it is quantized, without XNNPACK too.

    Args:
        file: the file.
        runs: inputs by their names, for each run.
        export: how the file was made.

    Raises:
        ExportError: the file does not run, or XNNPACK computes something else.
    """
    try:
        outputs = run(file, runs)
        if export.quantization in ("dynamic", "int8"):
            verification.agree(
                outputs,
                run(file, runs, xnnpack=False),
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
    return outputs


def sparse(file: Path, sister: Path, runs: Runs, export: conversion.Conversion) -> Results:
    """Runs a file with sparse tensors, and compares it with its dense sister.

    Args:
        file: the file.
        sister: the same model in the same precision, with its zeros stored.
        runs: inputs by their names, for each run.
        export: how the files were made.

    Raises:
        ExportError: one of them does not run, or they store or compute different things.
    """
    reference = dense(sister, runs, export)
    tensors = encodings.read(file)
    try:
        if loss := defects.lost(tensors, encodings.read(sister)):
            raise verification.ExportError(loss)
        outputs = run(file, runs)
        verification.agree(
            outputs,
            reference,
            SPARSE_TOLERANCES[export.quantization],
            "the same file stored densely",
            encodings.step(file),
        )
    except verification.ExportError as error:
        known = defects.explain(tensors, export.quantization)
        raise verification.ExportError(
            f"the sparse {export.quantization or 'float32'} file for {os.fspath(export.path)} was "
            f"not written: {error}. "
            + (f"A known defect of TensorFlow's converter: {known}. " if known else "")
            + f"Write {conversion.line(export.path, export.quantization, sparse=False)}."
        ) from error
    return outputs


def run(path: Path, runs: Runs, xnnpack: bool = True) -> Results:
    """Runs a .tflite file in the stock interpreter, in a child process.

    Args:
        path: the file.
        runs: inputs by their names, for each run.
        xnnpack: whether XNNPACK takes the operators that it can, as it does by default.

    Returns:
        For each run, an array for each output.

    Raises:
        ExportError: the interpreter refuses the file or dies of it.
    """
    with tempfile.TemporaryDirectory() as directory:
        inputs, outputs = Path(directory, "inputs.npz"), Path(directory, "outputs.npz")
        arrays = {f"{i}/{key}": value for i, run in enumerate(runs) for key, value in run.items()}
        np.savez(inputs, **arrays)  # type: ignore[arg-type]
        done = subprocess.run(
            # -P: the folder of the program must not come before the standard library.
            [sys.executable, "-P", interpreter.__file__, path, inputs, outputs, str(xnnpack)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
        if done.returncode:
            raise verification.ExportError(_last_words(done))
        results: Results = [{} for _ in runs]
        with np.load(outputs) as found:
            for key in found.files:
                index, output = key.split("/", 1)
                results[int(index)][output] = found[key]
    return results


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Tells how the child ended."""
    if done.returncode < 0:
        cause = str(-done.returncode)
        with contextlib.suppress(ValueError):
            cause = signal.Signals(-done.returncode).name
        return f"the stock TFLite interpreter died of it ({cause})"
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["without a word"]
    words = textwrap.shorten(lines[-1], 300, placeholder=" ...")
    return f"the stock TFLite interpreter refuses it ({words})"
