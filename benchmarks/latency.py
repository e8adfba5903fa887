"""Seconds of a call of fully connected networks: kprune's file for x86 against the dense file.

    python benchmarks/latency.py --json=latency.json

Two layers of 512 to 4096 units, pruned in the blocks that TFLite's kernels read, batches of 1 and
16. `to_tflite(target="x86")` decides; both files are called in turn in one process of the stock
interpreter, with one thread, which is its default. The ratio is the median over pairs of calls,
with quartiles. Unstructured zeros, which no kernel reads, are a control. Rows that --json has are
not measured again.
"""

import collections
import itertools
import pathlib
import tempfile
from typing import Any

import keras
import measuring
import numpy as np
from absl import app, flags

import kprune
from kprune._support import tables

FLAGS = flags.FLAGS
flags.DEFINE_list("widths", ["512", "1024", "2048", "4096"], "units of both layers")
flags.DEFINE_list("batches", ["1", "16"], "examples in a call")
flags.DEFINE_list("sparsities", ["0.8", "0.9", "0.95"], "fractions of zeros")
flags.DEFINE_list("precisions", ["float32", "dynamic"], "of the files")
flags.DEFINE_list("patterns", ["blocks", "unstructured"], "what is cut as one piece")
flags.DEFINE_float("seconds", 2.0, "to time a pair of files")
flags.DEFINE_string("json", None, "file for the results, read and added to; none by default")

PATTERNS = {"float32": "tflite_float32", "dynamic": "tflite_dynamic"}
Row = dict[str, Any]


def main(_: list[str]) -> None:
    """Measures what is missing, and prints all that was asked for."""
    lists = FLAGS.precisions, FLAGS.widths, FLAGS.batches, FLAGS.patterns, FLAGS.sparsities
    keys = ["/".join(each) for each in itertools.product(*lists)]
    print(table(measuring.resumed(FLAGS.json, keys, measure)))


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


def table(rows: dict[str, Row]) -> str:
    """Returns the rows as a table."""
    cells = []
    for key, row in rows.items():
        precision, width, batch, pattern, sparsity = key.split("/")
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
    largest = max((row.get("ratio", 1.0) for row in rows.values()), default=np.nan)
    surroundings = measuring.surroundings().items()
    lines = [
        f"largest ratio {largest:.2f}",
        ", ".join(f"{name} {value}" for name, value in surroundings),
    ]
    return tables.render("a call, sparse against dense", columns, cells, "\n".join(lines))


if __name__ == "__main__":
    app.run(main)
