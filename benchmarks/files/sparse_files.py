"""Measures the bytes of .tflite files: dense, sparse by TensorFlow's converter, and by kprune.

    python -m benchmarks.files.sparse_files --json=sparse_files.json
    python -m benchmarks.files.sparse_files --json=sparse_files.json --models=small --noconverter

Models (a stack of transformer blocks, an LSTM, MobileNetV2, LeNet-5) are pruned by magnitude,
unstructured and in the blocks that TFLite's kernels know, and written in four precisions. Each file
is run once more, on inputs that the exporter has not seen, in this process's interpreter; the
converter's sparse file is run in the same way as ours. Rows that are in --json are not made again.

`ideal` is a lower bound for any index: each value that is not zero, a bit for each weight, and the
rest of the dense file. The bar is the smaller of the converter's file, where it is right, and of
values with an index of the width that the format has for them.
"""

import collections
import functools
import itertools
import math
import pathlib
import tempfile
import time
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

import kprune
from benchmarks.parts import converter, results
from benchmarks.parts.networks import small_models
from kprune._support import progress, tables
from kprune.export._tflite import trial
from kprune.export._tflite.format import constants, loading, sparse_array

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "models", ["transformer", "lstm", "mobilenet", "lenet"], "or small, for all those"
)
flags.DEFINE_list("sparsities", ["0.5", "0.7", "0.8", "0.9", "0.95"], "fractions of zeros")
flags.DEFINE_list("precisions", ["float32", "float16", "dynamic", "int8"], "of the files")
flags.DEFINE_list("patterns", ["unstructured", "blocks"], "what is cut as one piece")
flags.DEFINE_string("json", None, "file for the results, read and added to; none by default")
flags.DEFINE_bool("converter", True, "write the converter's sparse file too")

KEY = "model", "precision", "pattern", "sparsity"
Row = dict[str, Any]


def main(_: list[str]) -> None:
    """Makes the rows that are missing, and prints all that were asked for."""
    names = small_models.SMALL if FLAGS.models == ["small"] else FLAGS.models
    kept, rows = results.Rows(FLAGS.json), []
    settings = itertools.product(names, FLAGS.precisions, FLAGS.patterns, FLAGS.sparsities)
    for values in progress.track(list(settings), "files"):
        key = dict(zip(KEY, values, strict=True))
        rows.append(kept.measure_once(key, functools.partial(measure, **key)))
    print(table(rows))


def measure(model: str, precision: str, pattern: str, sparsity: str) -> Row:
    """Prunes a model, writes its files, and returns their bytes and a verdict."""
    keras.utils.set_random_seed(0)
    network, inputs = small_models.build(model)
    piece = {"unstructured": "unstructured", "blocks": "tflite_float32"}[pattern]
    if pattern == "blocks" and precision in ("dynamic", "int8"):
        piece = "tflite_int8"
    kprune.wrap(network, pattern=piece)
    kprune.prune(network, float(sparsity), allocation="class_uniform")
    kprune.strip(network)
    quantization = None if precision == "float32" else precision
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "ours.tflite")
        try:
            report = kprune.export.to_tflite(
                network, path, quantization, inputs[:16], timing_seconds=0
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
            "difference": difference(path, network, inputs[16:20]),
            "tolerance": trial.TOLERANCES[quantization],
        }
        if FLAGS.converter:
            row |= converter.convert_sparse(network, inputs, quantization, pathlib.Path(directory))
    return row


def ideals(path: pathlib.Path, report: kprune.export.TFLiteReport) -> Row:
    """Returns the bytes of a bitmap, and of the format's own indices, beside the rest of a file."""
    bitmap = indexed = report.dense_bytes or 0
    sizes = {(each.graph, each.tensor): each.dense_bytes for each in report.tensors}
    for constant in constants.find(loading.load(path)):
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


def table(rows: list[Row]) -> str:
    """Formats all rows, as fractions of the dense file, and what is wrong in them."""
    cells, over, wrong, larger, refused, theirs = [], [], 0, 0, 0, collections.Counter[str]()
    for row in rows:
        name, precision, pattern, sparsity = (row[part] for part in KEY)
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
        results.format_surroundings(),
    ]
    return tables.render("bytes as fractions of the dense file", columns, cells, "\n".join(lines))


if __name__ == "__main__":
    app.run(main)
