"""Bytes of .tflite files: dense, as TensorFlow's converter writes zeros, and as kprune does.

    python benchmarks/sparse_files.py --json=sparse_files.json
    python benchmarks/sparse_files.py --json=sparse_files.json --models=small --noconverter

Models (a stack of transformer blocks, an LSTM, MobileNetV2, LeNet-5) are pruned by magnitude,
unstructured and in the blocks that TFLite's kernels know, and written in four precisions. Each file
is run here once more, on inputs that the exporter has not seen, in this process's interpreter; the
converter's sparse file is run by the same trial as ours. Rows that --json has are not made again.

`ideal` is what no index could beat: each value that is not zero, a bit for each weight, and the
rest of the dense file. The bar is the smaller of the converter's file, where it is right, and of
values with an index of the width that the format has for them.
"""

import collections
import itertools
import math
import pathlib
import tempfile
import time
import warnings
from typing import Any

import keras
import measuring
import numpy as np
import small_models
import tensorflow as tf
from absl import app, flags

import kprune
from kprune._support import tables
from kprune.export import _verification
from kprune.export._tflite import trial
from kprune.export._tflite.format import constants, flatbuffer, sparse_array

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "models", ["transformer", "lstm", "mobilenet", "lenet"], "or small, for all those"
)
flags.DEFINE_list("sparsities", ["0.5", "0.7", "0.8", "0.9", "0.95"], "fractions of zeros")
flags.DEFINE_list("precisions", ["float32", "float16", "dynamic", "int8"], "of the files")
flags.DEFINE_list("patterns", ["unstructured", "blocks"], "what is cut as one piece")
flags.DEFINE_string("json", None, "file for the results, read and added to; none by default")
flags.DEFINE_bool("converter", True, "write the converter's sparse file too")

Row = dict[str, Any]


def main(_: list[str]) -> None:
    """Makes the rows that are missing, and prints all that were asked for."""
    names = small_models.SMALL if FLAGS.models == ["small"] else FLAGS.models
    keys = [
        "/".join(each)
        for each in itertools.product(names, FLAGS.precisions, FLAGS.patterns, FLAGS.sparsities)
    ]
    print(table(measuring.resumed(FLAGS.json, keys, measure)))


def measure(name: str, precision: str, pattern: str, sparsity: str) -> Row:
    """Prunes a model, writes it in every way, and returns bytes and verdicts."""
    keras.utils.set_random_seed(0)
    model, inputs = small_models.build(name)
    piece = {"unstructured": "unstructured", "blocks": "tflite_float32"}[pattern]
    if pattern == "blocks" and precision in ("dynamic", "int8"):
        piece = "tflite_int8"
    kprune.wrap(model, pattern=piece)
    kprune.prune(model, float(sparsity), allocation="class_uniform")
    kprune.strip(model)
    quantization = None if precision == "float32" else precision
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "ours.tflite")
        try:
            report = kprune.export.to_tflite(
                model, path, quantization, inputs[:16], timing_seconds=0
            )
        except kprune.export.ExportError as error:
            return {"refused": str(error)[:300]}
        stored = collections.Counter(
            each.encoding for each in report.tensors if len(each.shape) > 1
        )
        row: Row = {
            "seconds": time.perf_counter() - start,
            "dense": report.dense_bytes,
            "dense_gzip": report.dense_gzip_bytes,
            "ours": report.bytes,
            "ours_gzip": report.gzip_bytes,
            "stored": dict(stored),
            **ideals(path, report),
            "difference": difference(path, model, inputs[16:20]),
            "tolerance": trial.TOLERANCES[quantization],
        }
        if FLAGS.converter:
            row.update(converted(model, inputs, quantization, pathlib.Path(directory)))
    return row


def ideals(path: pathlib.Path, report: kprune.export.TFLiteReport) -> Row:
    """Returns the bytes of a bitmap, and of the format's own indices, beside the rest of a file."""
    bitmap = indexed = report.dense_bytes or 0
    sizes = {(each.graph, each.tensor): each.dense_bytes for each in report.tensors}
    for constant in constants.find(flatbuffer.load(path)):
        values, whole = constant.stored, sizes[constant.graph, constant.name]
        if values.ndim < 2 or not whole:
            continue
        kept = int(np.count_nonzero(values)) * (whole // values.size)
        width = min(sparse_array.index_type(n - 1).itemsize for n in values.shape)
        bitmap -= max(0, whole - kept - math.ceil(values.size / 8))
        indexed -= max(0, whole - kept - pieces(values) * width)
    return {"ideal": bitmap, "indexed": indexed}


def pieces(values: Any) -> int:
    """Returns how many values there are, or blocks where these have no zero inside."""
    kept = least = int(np.count_nonzero(values))
    for axis, size in itertools.product(range(values.ndim), (2, 4, 8, 16, 32)):
        shape = list(values.shape)
        if shape[axis] % size == 0:
            shape[axis : axis + 1] = [shape[axis] // size, size]
            blocks = int(np.count_nonzero(values.reshape(shape).any(axis + 1)))
            least = min(least, blocks) if blocks * size == kept else least
    return least


def difference(path: pathlib.Path, model: keras.Model, inputs: Any) -> float:
    """Returns the largest difference from the Keras model, as a fraction of its largest output."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf.lite announces its move to LiteRT
        runner = tf.lite.Interpreter(model_path=str(path)).get_signature_runner()
    (name,) = runner.get_input_details()
    largest = 0.0
    for index in range(len(inputs)):
        x = inputs[index : index + 1]
        (ours,) = runner(**{name: x}).values()
        expected = np.asarray(model(x, training=False))
        gap = np.abs(ours - expected).max() / np.abs(expected).max()
        largest = max(largest, float(np.nan_to_num(gap, nan=np.inf)))
    return largest


def converted(
    model: keras.Model, inputs: Any, quantization: str | None, directory: pathlib.Path
) -> Row:
    """Returns the bytes of the converter's own sparse file, and whether it is right."""
    contents = []
    sparsity = tf.lite.Optimize.EXPERIMENTAL_SPARSITY
    loops = any(isinstance(each, keras.layers.RNN) for each in model._flatten_layers())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec = [tf.TensorSpec((1 if loops else None, *inputs.shape[1:]), inputs.dtype)]
        model.export(directory / "saved", verbose=False, input_signature=spec)
        for sparse in (False, True):
            converter = tf.lite.TFLiteConverter.from_saved_model(str(directory / "saved"))
            converter.optimizations = [tf.lite.Optimize.DEFAULT] if quantization else []
            if sparse:
                converter.optimizations.append(sparsity)
            if quantization == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if quantization == "int8":
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
                converter.representative_dataset = lambda: ([x[None]] for x in inputs[:16])
            try:
                contents.append(converter.convert())
            except Exception as error:
                return {"converter": None, "verdict": f"fails: {str(error)[:80]}"}
    paths = [directory / "dense.tflite", directory / "converter.tflite"]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    name = next(iter(_names(paths[0])))
    runs = [{name: inputs[index : index + 1]} for index in (16, 17)]
    verdict = "right"
    try:
        for runtime in trial.runtimes():
            ours, theirs = (trial.run(path, runs, runtime).outputs for path in paths)
            limit = trial.SPARSE_TOLERANCES[quantization]
            _verification.agree(theirs, ours, limit, "its dense file", 1 / 128)
    except _verification.ExportError as error:
        verdict = "wrong" if "away" in str(error) else "does not load"
    return {"converter": len(contents[1]), "verdict": verdict}


def _names(path: pathlib.Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_path=str(path))
        return interpreter.get_signature_runner().get_input_details()


def table(rows: dict[str, Row]) -> str:
    """Returns all rows, fractions of the dense file, and the verdict over them."""
    cells, over, wrong, larger, refused, theirs = [], [], 0, 0, 0, collections.Counter[str]()
    for key, row in rows.items():
        name, precision, pattern, sparsity = key.split("/")
        pieces = "singles" if pattern == "unstructured" else pattern
        start = [name, precision, pieces, f"{float(sparsity):.0%}"]
        if "refused" in row:
            refused += 1
            cells.append([*start, "-", "-", "-", "-", "-", "-", "none"])
            continue
        dense = row["dense"]
        fractions = [row["dense_gzip"], row.get("converter"), row["ours"], row["ours_gzip"]]
        verdict = row.get("verdict", "")
        right = row["converter"] if verdict == "right" else math.inf
        bar = row["ours"] / min(right, row["indexed"])
        over += [bar] if precision == "float32" else []
        wrong += row["difference"] > row["tolerance"]
        larger += row["ours"] > dense
        theirs[verdict.split(":")[0]] += 1
        texts = ["-" if each is None else f"{each / dense:.2f}" for each in fractions]
        short = {"does not load": "refused"}.get(verdict, verdict.split(":")[0])
        cells.append([*start, f"{dense:,}", *texts, f"{row['ideal'] / dense:.2f}", short])
    columns = ["model", "type", "zeros in", "zeros", "dense"]
    columns += ["gzip", "converter", "ours", "gzip ", "ideal", "theirs"]
    lines = [
        f"{len(rows)} combinations: {wrong} wrong files of ours, {larger} larger than the dense "
        f"one, {refused} not written",
        "float32: at most "
        + (f"{max(over):.3f}" if over else "-")
        + " of the smaller of the converter's right file and values with indices",
        f"the converter's files: {dict(theirs)}",
        ", ".join(f"{name} {version}" for name, version in measuring.surroundings().items()),
    ]
    return tables.render("bytes as fractions of the dense file", columns, cells, "\n".join(lines))


if __name__ == "__main__":
    app.run(main)
