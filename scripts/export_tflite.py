"""Writes any `.keras` model as verified .tflite files, and reports the size of each.

    python scripts/export_tflite.py
    python scripts/export_tflite.py --model=model.keras --calibration=calibration.npz
    python scripts/export_tflite.py --model=model.keras --target=arm --check_only

For each precision, the program predicts what sparse storage saves on the target, writes the file,
runs it in TensorFlow's and LiteRT's interpreters, and prints the bytes of each tensor and why it
stays dense if it does. Without a model, LeNet-5 is trained on handwritten digits and pruned first.
If TFLite cannot compute a model correctly in a precision, the program says so and writes the
others.
"""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import keras
import tensorflow as tf
from absl import app, flags

import kprune
from kprune._support import tables
from options import checks
from reports import results
from training import examples

FLAGS = flags.FLAGS
PRECISIONS = ("float32", "float16", "dynamic", "int8", "int16x8")

flags.DEFINE_string("model", None, "A .keras file. Default: LeNet-5, trained and pruned here.")
flags.DEFINE_string(
    "calibration", None, "A .npz with samples `x` that the model takes; int8 measures ranges on it."
)
flags.DEFINE_list("precisions", None, f"Some of {','.join(PRECISIONS)}. Default: all but int16x8.")
flags.DEFINE_enum("target", "size", ["size", "x86", "arm"], "What the files are made for.")
flags.DEFINE_integer("batch_size", None, "Fixes the batch. Default: free.", lower_bound=1)
flags.DEFINE_integer("threads", 1, "Of the interpreter, on the target.", lower_bound=1)
checks.sparsity("sparsity", 0.9, "Of the model made here; for --check_only of dense ones.")
flags.DEFINE_bool("check_only", False, "Say what there is to gain, and write nothing.")
flags.DEFINE_string("output", "savedmodels/tflite", "Folder for the files and report.json.")
flags.DEFINE_integer("seed", 0, "Of the model made here.", lower_bound=0)
flags.register_validator(
    "precisions",
    lambda value: value is None or set(value) <= set(PRECISIONS),
    f"expected some of {', '.join(PRECISIONS)}. Write --precisions=float32,int8",
)


def main(argv: list[str]) -> None:
    """Loads or makes a model, and writes it in each precision."""
    checks.flags_alone(argv)
    tf.get_logger().setLevel("ERROR")
    keras.utils.set_random_seed(FLAGS.seed)
    try:
        model, samples = load()
    except (OSError, ValueError) as error:
        raise app.UsageError(str(error)) from error
    reports, refused = {}, {}
    directory = Path(FLAGS.output)
    for precision in precisions(samples):
        try:
            reports[precision] = write(model, samples, precision, directory)
        except kprune.export.ExportError as error:
            refused[precision] = str(error)
            print(f"{precision}: not written. {error}\n")
    if FLAGS.check_only:
        return
    content = {name: report.to_dict() for name, report in reports.items()}
    results.write_results(directory / "report.json", {**content, "refused": refused})
    print(summary(reports))


def load() -> tuple[keras.Model, Any]:
    """Returns the model of the flags with samples for it, or with `None` if there are none."""
    if FLAGS.model is not None:
        samples = examples.read(FLAGS.calibration)[0] if FLAGS.calibration else None
        return examples.loaded(FLAGS.model), samples
    example = examples.trained("digits", None, "lenet_5", epochs=15, verbose=0)
    kprune.wrap(example.model)
    kprune.prune(example.model, FLAGS.sparsity)
    example.model.fit(*example.calibration, epochs=5, verbose=0)
    return kprune.strip(example.model), example.calibration[0]


def precisions(samples: Any) -> list[str]:
    """Returns the precisions of the flags, or all that the samples allow."""
    if FLAGS.precisions is not None:
        return list(FLAGS.precisions)
    return ["float32", "float16", "dynamic"] + ([] if samples is None else ["int8"])


def write(
    model: keras.Model, samples: Any, precision: str, directory: Path
) -> kprune.export.TFLiteReport | None:
    """Prints what sparse storage saves on the target, writes a file, and prints its report."""
    quantization = None if precision == "float32" else precision
    aim = {"target": FLAGS.target, "batch_size": FLAGS.batch_size, "threads": FLAGS.threads}
    if FLAGS.check_only or FLAGS.target != "size":
        print(kprune.export.check(model, quantization=quantization, sparsity=FLAGS.sparsity, **aim))
        print()
    if FLAGS.check_only:
        return None
    path = directory / f"{precision}.tflite"
    report = kprune.export.to_tflite(model, path, quantization, samples, **aim)
    print(f"{report}\n")
    return report


def summary(reports: dict[str, kprune.export.TFLiteReport | None]) -> str:
    """Formats a table of all files."""
    rows = [
        [
            Path(each.path).name,
            f"{each.dense_bytes:,}",
            f"{each.bytes:,}",
            f"{each.gzip_bytes:,}",
            f"{each.latency.ratio:.2f}" if each.latency else "-",
            f"{each.max_difference:.1e}",
        ]
        for each in reports.values()
        if each is not None
    ]
    columns = ["file", "dense", "bytes", "gzip", "a call / dense", "difference"]
    footer = f"written to {FLAGS.output}, with report.json"
    return tables.render(f'target="{FLAGS.target}"', columns, rows, footer)


if __name__ == "__main__":
    app.run(main)
