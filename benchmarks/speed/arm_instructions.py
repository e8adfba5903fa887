"""Counts the instructions of dense and of sparse files on the emulated processor of a phone.

    python -m benchmarks.speed.arm_instructions --study=mobilenet --json=arm.json
    python -m benchmarks.speed.arm_instructions --study=fully_connected --json=arm.json
    python -m benchmarks.speed.arm_instructions --study=applications --json=arm.json

The stock aarch64 LiteRT runs each file on a Cortex-A76 that QEMU emulates, on one thread; the
instructions of its second run are counted (`parts/phone/`). Instructions stand for time: the count
is repeatable to some hundreds, but knows nothing of caches and memory, where sparse weights win,
nor of instructions that wait for each other, where they may lose. Before the first run,

    apt-get install --no-install-recommends qemu-user gcc

on Debian; the rest, 200 MB, is fetched into --directory once. No test needs any of it.

Weights are random: the count depends on where zeros are, not on what is learnt. Magnitudes prune,
to the same sparsity in every layer; in convolutional networks only the 1x1 convolutions.
`mobilenet` is MobileNetV2 at 224 pixels as it comes and with `kprune.export.symmetric_padding`,
`fully_connected` one layer of n inputs and n outputs, `applications` other networks with symmetric
padding. It takes some 20 seconds a file, a minute for a MobileNet. Rows that are in --json are
not counted again.
"""

import dataclasses
import functools
import itertools
import pathlib
import tempfile
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf
from absl import app, flags

import kprune
from benchmarks.parts import results
from benchmarks.parts.phone import emulation
from benchmarks.parts.phone.subjects import (
    NATIVE,
    PATTERNS,
    QUANTIZATIONS,
    STUDIES,
    Subject,
)
from kprune._support import tables
from kprune.export._tflite import sparsification
from kprune.export._tflite.rules import targets

FLAGS = flags.FLAGS
Row = dict[str, Any]

SPARSITIES = [0.7, 0.8, 0.9, 0.95]
flags.DEFINE_enum("study", "mobilenet", list(STUDIES), "what to count")
flags.DEFINE_list("sparsities", [str(each) for each in SPARSITIES], "fractions of zeros")
flags.DEFINE_string("directory", "build/arm", "of the emulated phone; made where it is missing")
flags.DEFINE_string("json", None, "file for the results; rows that are in it are not run again")


@dataclasses.dataclass(frozen=True)
class Always(targets.Target):
    """Stores blocks sparsely, however few are zero: the benchmark looks for the rule."""

    def least(self, *_: object) -> float:
        """Asks for no zeros."""
        return 0.0


def write(model: keras.Model, subject: Subject, path: pathlib.Path, sparse: bool) -> None:
    """Writes a file with a fixed batch; sparse fully connected layers read blocks directly."""
    native = subject.pattern in NATIVE
    kprune.export.to_tflite(
        model,
        path,
        QUANTIZATIONS[subject.precision],
        target="arm",
        sparse=sparse and not native,
        batch_size=subject.batch,
        timing_seconds=0,
    )
    if sparse and native:
        made = sparsification.rewrite(path.read_bytes(), Always("arm", subject.batch))
        assert made.is_sparse, subject
        path.write_bytes(made.content)


def prune(model: keras.Model, pattern: str, sparsity: float) -> float:
    """Prunes the 1x1 convolutions, or the one layer there is, and returns the fraction of zeros."""
    include = _is_pointwise if len(model.layers) > 1 else None
    kprune.wrap(model, include=include, pattern=PATTERNS[pattern])
    report = kprune.prune(model, sparsity, "magnitude", allocation="class_uniform")
    kprune.strip(model)
    return float(report.sparsity)


def measure(phone: emulation.Phone, subject: Subject, sparsity: float) -> Row:
    """Returns the instructions of one run, and the bytes of the file."""
    model = subject.build()
    zeros = prune(model, subject.pattern, sparsity) if sparsity else 0.0
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "model.tflite")
        write(model, subject, path, sparsity > 0)
        keras.backend.clear_session()
        count = phone.instructions(path)
        return {"zeros": zeros, "instructions": count, "bytes": path.stat().st_size}


def key(subject: Subject, sparsity: float) -> Row:
    """Returns the settings of a row; the dense file is the same for every pattern."""
    pattern = subject.pattern if sparsity else "dense"
    return {**dataclasses.asdict(subject), "pattern": pattern, "sparsity": sparsity}


def table(rows: results.Rows, subjects: Iterable[Subject], sparsities: list[float]) -> str:
    """Formats the instructions of each subject relative to those of its dense file."""
    lines = []
    for subject in subjects:
        dense, *sparse = [
            found["instructions"]
            for sparsity in (0.0, *sparsities)
            if (found := rows.find(key(subject, sparsity))) is not None
        ]
        name = f"{subject.network} {subject.padding}".strip()
        ratios = [f"{each / dense:.2f}" for each in sparse]
        millions = f"{dense / 1e6:.2f}"
        lines.append([name, subject.precision, subject.batch, subject.pattern, millions, *ratios])
    return tables.render(
        "Instructions on an emulated Cortex-A76 over those of the dense file, one thread",
        ["network", "type", "batch", "zeros", "dense, M", *(f"{each:.0%}" for each in sparsities)],
        lines,
        f"{emulation.WHEELS[0]}; M: millions; 4x1: four outputs, 1x4 and 1x16: inputs",
    )


def _is_pointwise(variable: keras.Variable) -> bool:
    return len(variable.shape) == 4 and tuple(variable.shape[:2]) == (1, 1)


def main(_: list[str]) -> None:
    """Counts what is not in the file yet, and prints a table."""
    tf.get_logger().setLevel("ERROR")
    phone = emulation.prepare(FLAGS.directory)
    sparsities = [float(each) for each in FLAGS.sparsities]
    rows = results.Rows(FLAGS.json)
    for subject, sparsity in itertools.product(STUDIES[FLAGS.study], [0.0, *sparsities]):
        count = functools.partial(measure, phone, subject, sparsity)
        rows.measure_once(key(subject, sparsity), count)
    print(table(rows, STUDIES[FLAGS.study], sparsities))


if __name__ == "__main__":
    app.run(main)
