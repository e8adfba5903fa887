"""Compresses a LeNet by Deep Compression, and prints what each stage takes and costs.

    python scripts/deep_compression.py
    python scripts/deep_compression.py --dataset=mnist --data_dir=DIR --model=lenet_5

Trains a dense network, prunes it gradually and fine-tunes it, gives the remaining weights of each
layer a codebook by k-means, trains its values, and writes the Huffman-coded file; reads that back,
evaluates every stage on the test images, and prints one table. A second table has the sizes of
TFLite files of the same stages. A run that was stopped goes on with --resume.
"""

import dataclasses
import os
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import keras
import tensorflow as tf
from absl import app, flags, logging

from data import images
from kprune._support import tables
from options import checks, compression_options
from reports import results
from training.deep_compression import Row, Run
from training.stages import Stages

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(compression_options)  # --help shows them


def main(argv: list[str]) -> None:
    """Trains, prunes, shares, codes, evaluates, reports."""
    checks.flags_alone(argv)
    tf.get_logger().setLevel("ERROR")
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    start = time.monotonic()
    keras.utils.set_random_seed(FLAGS.seed)
    directory, recipe = compression_options.output_dir(), compression_options.recipe()
    try:
        data = images.load(FLAGS.dataset, FLAGS.data_dir)
    except (OSError, ValueError) as error:
        raise app.UsageError(str(error)) from error
    if FLAGS.validation:
        data = images.hold_out(data, FLAGS.validation)
    stages = Stages(directory, FLAGS.resume, FLAGS.verbose)
    choices = FLAGS.initialization, FLAGS.seed, FLAGS.tflite
    rows, tflite = Run(FLAGS.model, recipe, data, stages, *choices).compress(directory)
    tested_on = "validation" if FLAGS.validation else "test"
    seconds = time.monotonic() - start
    print(table(rows, f"{FLAGS.model} on {FLAGS.dataset}, Deep Compression", tested_on))
    if FLAGS.tflite:
        print(tflite_table(tflite))
    content = {
        "recipe": dataclasses.asdict(recipe),
        "stages": [dataclasses.asdict(row) for row in rows],
        "tflite": tflite,
        "error_on": tested_on,
        "seconds": seconds,
    }
    results.write_results(directory / "results.json", content)
    print(f"{seconds:.0f} s; written to {directory}")


def table(rows: list[Row], title: str, what: str) -> str:
    """Formats the table of the stages."""
    cells = [
        [
            each.stage,
            f"{each.kept:,}",
            f"{8 * each.bytes / each.kept:.2f}",
            f"{each.bytes:,}",
            f"{each.ratio:.2f}x",
            f"{each.error:.2f} %",
        ]
        for each in rows
    ]
    columns = ["stage", "parameters kept", "bits each", "bytes", "smaller", f"{what} error"]
    return tables.render(title, columns, cells)


def tflite_table(found: list[dict[str, Any]]) -> str:
    """Formats the table of the TFLite files."""
    columns = list(found[0])
    rows = [[each["stage"], *(f"{each[name]:,}" for name in columns[1:])] for each in found]
    return tables.render("bytes of the same stages as TFLite files", columns, rows)


if __name__ == "__main__":
    app.run(main)
