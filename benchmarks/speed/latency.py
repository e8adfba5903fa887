"""Compares the latency of kprune's files for x86 with that of dense files: dense layers.

    python -m benchmarks.speed.latency --json=latency.json

Two layers of 512 to 4096 units, pruned in the blocks that TFLite's kernels use, batches of 1 and
16. `to_tflite(target="x86")` decides; both files are called in turn in one process of the stock
interpreter, with one thread, which is its default. The ratio is the median over pairs of calls,
with quartiles. Unstructured zeros, which no kernel uses, are a control. Rows that are in --json are
not measured again.
"""

import collections
import functools
import itertools
import pathlib
import tempfile
from typing import Any

import keras
import numpy as np
from absl import app, flags

import kprune
from benchmarks.parts import results
from kprune._support import progress, tables

FLAGS = flags.FLAGS
flags.DEFINE_list("widths", ["512", "1024", "2048", "4096"], "units of both layers")
flags.DEFINE_list("batches", ["1", "16"], "examples in a call")
flags.DEFINE_list("sparsities", ["0.8", "0.9", "0.95"], "fractions of zeros")
flags.DEFINE_list("precisions", ["float32", "dynamic"], "of the files")
flags.DEFINE_list("patterns", ["blocks", "unstructured"], "what is cut as one piece")
flags.DEFINE_float("seconds", 2.0, "to time a pair of files")
flags.DEFINE_string("json", None, "file for the results, read and added to; none by default")

PATTERNS = {"float32": "tflite_float32", "dynamic": "tflite_dynamic"}
KEY = "precision", "width", "batch", "pattern", "sparsity"
Row = dict[str, Any]


def main(_: list[str]) -> None:
    """Measures the rows that are missing, and prints all of them."""
    lists = FLAGS.precisions, FLAGS.widths, FLAGS.batches, FLAGS.patterns, FLAGS.sparsities
    kept, rows = results.Rows(FLAGS.json), []
    for values in progress.track(list(itertools.product(*lists)), "files"):
        key = dict(zip(KEY, values, strict=True))
        rows.append(kept.measure_once(key, functools.partial(measure, **key)))
    print(table(rows))


def measure(precision: str, width: str, batch: str, pattern: str, sparsity: str) -> Row:
    """Writes a network for x86 and returns what a call of it takes, beside the dense file."""
    keras.utils.set_random_seed(0)
    units = int(width)
    model = keras.Sequential(
        [keras.Input((units,)), *(keras.layers.Dense(units, "relu") for _ in range(2))]
    )
    kprune.wrap(model, pattern=PATTERNS[precision] if pattern == "blocks" else pattern)
    kprune.prune(model, float(sparsity), allocation="class_uniform")
    with tempfile.TemporaryDirectory() as directory:
        report = kprune.export.to_tflite(
            model,
            pathlib.Path(directory, "model.tflite"),
            None if precision == "float32" else precision,
            target="x86",
            batch_size=int(batch),
            timing_seconds=FLAGS.seconds,
        )
    stored = collections.Counter(each.encoding for each in report.tensors if len(each.shape) > 1)
    row: Row = {"dense_bytes": report.dense_bytes, "bytes": report.bytes, "stored": dict(stored)}
    if report.latency is not None:
        row |= {
            "seconds": report.latency.seconds,
            "dense_seconds": report.latency.dense_seconds,
            "ratio": report.latency.ratio,
            "spread": report.latency.spread,
        }
    return row


def table(rows: list[Row]) -> str:
    """Formats the rows as a table."""
    cells = []
    for row in rows:
        precision, width, batch, pattern, sparsity = (row[name] for name in KEY)
        kind = max(row["stored"], key=row["stored"].get).split()[0]
        start = [precision, width, batch, pattern, f"{float(sparsity):.0%}", kind]
        size = f"{row['bytes'] / row['dense_bytes']:.2f}"
        if "ratio" not in row:
            cells.append([*start, size, "-", "-", "the same file"])
            continue
        low, high = row["spread"]
        milliseconds = f"{row['dense_seconds'] * 1e3:.3f}"
        cells.append([*start, size, milliseconds, f"{row['ratio']:.2f}", f"{low:.2f}-{high:.2f}"])
    columns = ["type", "width", "batch", "zeros in", "zeros", "stored", "bytes"]
    columns += ["dense ms", "ratio", "quartiles"]
    largest = max((row.get("ratio", 1.0) for row in rows), default=np.nan)
    footer = f"largest ratio {largest:.2f}\n{results.format_surroundings()}"
    return tables.render("a call, sparse against dense", columns, cells, footer)


if __name__ == "__main__":
    app.run(main)
