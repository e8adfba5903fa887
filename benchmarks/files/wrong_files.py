"""Looks for wrong sparse .tflite files in thousands of combinations, in a minute or two.

    pip install ai-edge-litert
    python -m benchmarks.files.wrong_files --json=wrong_files.json

Each small model is converted once in each precision. Then zeros of every pattern and sparsity are
written into the weights of the dense file, kprune encodes it for each target, and both files run
in the interpreters of TensorFlow and of LiteRT with their default settings, in this process. A file
is wrong if a constant differs by a bit, an output by more than rounding, if an interpreter refuses
it, or if it is larger than the dense one.
"""

import collections
import itertools
import pathlib
import tempfile
import time
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from ai_edge_litert import interpreter as litert

import kprune
from benchmarks.parts import results
from benchmarks.parts.networks import small_models
from kprune._support import tables
from kprune.export._tflite import sparsification, trial
from kprune.export._tflite.format import constants, flatbuffer
from kprune.export._tflite.rules import targets

FLAGS = flags.FLAGS
flags.DEFINE_list("precisions", ["float32", "float16", "dynamic", "int8"], "of the files")
flags.DEFINE_list("sparsities", ["0.4", "0.6", "0.8", "0.9", "0.97", "1.0"], "fractions of zeros")
flags.DEFINE_list("targets", list(targets.NAMES), "what the files are made for")
flags.DEFINE_list("models", small_models.SMALL, "some of small_models")
flags.DEFINE_string("json", None, "file for the results; none by default")

Array = np.ndarray[Any, Any]
LEAST = 256  # values of a weight that gets zeros
# Blocks in TFLite's layout; 0 is a whole axis.
PATTERNS = {"unstructured": (1, 1), "1x4": (1, 4), "4x1": (4, 1), "1x16": (1, 16), "rows": (1, 0)}


def main(_: list[str]) -> None:
    """Tries every combination, and prints the counts."""
    found: dict[str, collections.Counter[str]] = {}
    details: list[str] = []
    start = time.perf_counter()
    for name, precision in itertools.product(FLAGS.models, FLAGS.precisions):
        counts = found.setdefault(name, collections.Counter())
        content, inputs = converted(name, precision)
        if content is None:
            counts["not converted"] += 1
            continue
        settings = itertools.product(PATTERNS, FLAGS.sparsities, FLAGS.targets)
        for pattern, sparsity, target in settings:
            verdict = judged(content, inputs, precision, pattern, float(sparsity), target)
            counts[verdict.split(":")[0]] += 1
            if verdict not in ("sparse", "dense"):
                details.append(f"{name} {precision} {pattern} {sparsity} {target}: {verdict}")
                print(details[-1], flush=True)
    seconds = time.perf_counter() - start
    print(table(found, details, seconds))
    results.save(FLAGS.json, {"counts": found, "wrong": details})


def converted(name: str, precision: str) -> tuple[bytes | None, dict[str, Array]]:
    """Returns the dense file of a model, and an input for it by name; `None` where TFLite fails."""
    keras.utils.set_random_seed(0)
    model, inputs = small_models.build(name)
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "dense.tflite")
        try:
            kprune.export.to_tflite(
                model, path, None if precision == "float32" else precision, inputs[:8], sparse=False
            )
        except kprune.export.ExportError:
            return None, {}
        content = path.read_bytes()
    (taken,) = runner(content, tf.lite.Interpreter).get_input_details()
    return content, {taken: inputs[:1]}


def judged(
    content: bytes,
    inputs: dict[str, Array],
    precision: str,
    pattern: str,
    sparsity: float,
    target: str,
) -> str:
    """Returns "sparse" or "dense" for a correct file, else what is wrong with it."""
    dense = with_zeros(content, pattern, sparsity)
    made = sparsification.rewrite(dense, targets.Target(target, 1))
    if len(made.content) > len(dense):
        return "larger"
    if not made.is_sparse:
        return "dense"
    values = [
        {(each.graph, each.name): each.stored for each in constants.find(flatbuffer.parse(file))}
        for file in (dense, made.content)
    ]
    if any(not np.array_equal(value, values[1][key]) for key, value in values[0].items()):
        return "wrong: a constant differs"
    limit = trial.SPARSE_TOLERANCES[None if precision == "float32" else precision]
    for kind in (tf.lite.Interpreter, litert.Interpreter):
        try:
            ours, theirs = (runner(file, kind)(**inputs) for file in (made.content, dense))
        except (RuntimeError, ValueError) as error:
            return f"refused: {str(error)[:80]}"
        for key, expected in theirs.items():
            gap = np.abs(ours[key].astype(np.float64) - expected).max()
            if not gap <= limit * np.abs(expected).max() + 1e-6:
                return f"wrong: {gap:.3g} from {np.abs(expected).max():.3g}"
    return "sparse"


def with_zeros(content: bytes, pattern: str, sparsity: float) -> bytes:
    """Returns a dense file with zeros in all its weights."""
    random = np.random.default_rng(0)
    model = flatbuffer.parse(content)
    for constant in list(constants.find(model)):
        weights = constant.stored
        floating = weights.dtype.name in ("float32", "float16", "int8")
        if weights.ndim < 2 or weights.size < LEAST or not floating:
            continue
        rows, columns = PATTERNS[pattern]
        matrix = weights.reshape(len(weights), -1)
        columns = columns or matrix.shape[1]
        shape = (-(-matrix.shape[0] // rows), -(-matrix.shape[1] // columns))
        kept = random.random(shape) >= sparsity
        mask = kept.repeat(rows, 0)[: len(matrix)].repeat(columns, 1)[:, : matrix.shape[1]]
        data = np.where(mask, matrix, np.zeros((), matrix.dtype))
        model.buffers[constant.tensor.buffer].data = data.ravel().view(np.uint8)
    return flatbuffer.pack(model)


def runner(content: bytes, kind: Any) -> Any:
    """Returns a callable signature of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf.lite announces its move to LiteRT
        return kind(model_content=content).get_signature_runner()


def table(found: dict[str, collections.Counter[str]], details: list[str], seconds: float) -> str:
    """Formats the counts by model."""
    verdicts = ["sparse", "dense", "wrong", "refused", "larger", "not converted"]
    rows = [[name, *(f"{counts[each]:,}" for each in verdicts)] for name, counts in found.items()]
    tried = sum(sum(counts.values()) - counts["not converted"] for counts in found.values())
    lines = [f"{tried:,} combinations, {len(details)} wrong, refused or larger; {seconds:.0f} s"]
    lines.append(results.format_surroundings())
    return tables.render("files in both interpreters", ["model", *verdicts], rows, "\n".join(lines))


if __name__ == "__main__":
    app.run(main)
