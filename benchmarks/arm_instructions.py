"""Instructions of a phone's processor, dense against sparse, counted without a phone.

    python benchmarks/arm_instructions.py --study=mobilenet --json=arm.json
    python benchmarks/arm_instructions.py --study=fully_connected --json=arm.json
    python benchmarks/arm_instructions.py --study=applications --json=arm.json

The stock aarch64 LiteRT runs each file on a Cortex-A76 that QEMU emulates, on one thread; the
instructions of its second run are counted (`emulation.py`). Instructions stand for time: the count
is repeatable to some hundreds, but knows nothing of caches and memory, where sparse weights win,
nor of instructions that wait for each other, where they may lose. Before the first run,

    apt-get install --no-install-recommends qemu-user gcc

on Debian; the rest, 200 MB, is fetched into --directory once. No test needs any of it.

Weights are random: the count depends on where zeros are, not on what is learnt. Magnitudes prune,
to the same sparsity in every layer; in convolutional networks only the 1x1 convolutions.
`mobilenet` is MobileNetV2 at 224 pixels as it comes and with `kprune.export.symmetric_padding`,
`fully_connected` one layer of n inputs and n outputs, `applications` other networks with symmetric
padding. It takes some 20 seconds a file, a minute for a MobileNet. With --json results are kept as
they come, and are not counted again.
"""

import dataclasses
import itertools
import json
import pathlib
import tempfile
from collections.abc import Iterable
from typing import Any

import emulation
import keras
import measuring
import tensorflow as tf
from absl import app, flags

import kprune
from kprune._support import tables
from kprune.export._tflite import sparsification
from kprune.export._tflite.rules import targets

FLAGS = flags.FLAGS
Row = dict[str, Any]

SPARSITIES = [0.7, 0.8, 0.9, 0.95]
PATTERNS = {  # of the matrix [input, output] of a Keras kernel
    "unstructured": "unstructured",
    "4x1": kprune.patterns.Block((1, 4)),  # four outputs, as XNNPACK's 1x1 convolutions read them
    "1x4": kprune.patterns.Block((4, 1)),  # four inputs, as TFLite's FULLY_CONNECTED reads them
    "1x16": kprune.patterns.Block((16, 1)),  # the same in dynamic range
}
NATIVE = ("1x4", "1x16")
QUANTIZATIONS = {"float32": None, "dynamic": "dynamic"}
APPLICATIONS = ["MobileNet", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0"]


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is counted, in a column for each sparsity.

    Args:
        network: a name in `keras.applications`, or "fully connected N".
        padding: "symmetric" or "as it comes"; "" where there is none.
        pattern: a key of `PATTERNS`.
        batch: examples in one run.
        precision: a key of `QUANTIZATIONS`.
    """

    network: str
    padding: str
    pattern: str
    batch: int = 1
    precision: str = "float32"

    def build(self) -> keras.Model:
        """Returns the network with random weights."""
        keras.utils.set_random_seed(0)
        if self.network.startswith("fully"):
            width = int(self.network.split()[-1])
            return keras.Sequential([keras.Input((width,)), keras.layers.Dense(width)])
        model = getattr(keras.applications, self.network)(weights=None)
        return kprune.export.symmetric_padding(model) if self.padding == "symmetric" else model


def _connected(width: int, pattern: str, batch: int, precision: str = "float32") -> Subject:
    return Subject(f"fully connected {width}", "", pattern, batch, precision)


STUDIES: dict[str, list[Subject]] = {
    "mobilenet": [
        Subject("MobileNetV2", "symmetric", "unstructured"),
        Subject("MobileNetV2", "symmetric", "4x1"),
        Subject("MobileNetV2", "as it comes", "unstructured"),
    ],
    "fully_connected": [
        *(_connected(1024, "1x4", batch) for batch in (1, 2, 4, 8, 16)),
        *(_connected(width, "1x4", batch) for width in (512, 2048) for batch in (1, 16)),
        *(_connected(1024, "unstructured", batch) for batch in (1, 16)),
        *(_connected(1024, "1x16", batch, "dynamic") for batch in (1, 16)),
        *(_connected(2048, "1x16", batch, "dynamic") for batch in (1, 16)),
    ],
    "applications": [Subject(name, "symmetric", "unstructured") for name in APPLICATIONS],
}

flags.DEFINE_enum("study", "mobilenet", list(STUDIES), "what to count")
flags.DEFINE_list("sparsities", [str(each) for each in SPARSITIES], "fractions of zeros")
flags.DEFINE_string("directory", "build/arm", "of the emulated phone; made where it is missing")
flags.DEFINE_string("json", None, "file for the results; rows that are in it are not run again")


@dataclasses.dataclass(frozen=True)
class Always(targets.Target):
    """Blocks that are read directly, however few are zero: the rule is what is sought."""

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
    """What a row is known by; dense files of one network are the same for every pattern."""
    pattern = subject.pattern if sparsity else "dense"
    return {**dataclasses.asdict(subject), "pattern": pattern, "sparsity": sparsity}


def find(rows: list[Row], known: Row) -> Row | None:
    """Returns the row with such a key."""
    return next((row for row in rows if known.items() <= row.items()), None)


def table(rows: list[Row], subjects: Iterable[Subject], sparsities: list[float]) -> str:
    """The instructions of each subject over those of its dense file."""
    lines = []
    for subject in subjects:
        dense, *sparse = [
            found["instructions"]
            for sparsity in (0.0, *sparsities)
            if (found := find(rows, key(subject, sparsity))) is not None
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
    file = pathlib.Path(FLAGS.json) if FLAGS.json else None
    rows: list[Row] = json.loads(file.read_text())["rows"] if file and file.exists() else []
    for subject, sparsity in itertools.product(STUDIES[FLAGS.study], [0.0, *sparsities]):
        known = key(subject, sparsity)
        if find(rows, known) is None:
            rows.append({**known, **measure(phone, subject, sparsity)})
            measuring.save(FLAGS.json, {"rows": rows})
    print(table(rows, STUDIES[FLAGS.study], sparsities))


if __name__ == "__main__":
    app.run(main)
