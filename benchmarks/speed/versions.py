"""Compares the speed of two checkouts of kprune by the same programs, run in turn.

    git worktree add ../before COMMIT
    python -m benchmarks.speed.versions --before=../before --json=versions.json

Four programs: training steps of a wrapped network, updates of its masks, a layer solved by Optimal
Brain Surgeon, and a TFLite file exported and run. Each prints the median of its seconds; a ratio is
that of this checkout over that of the other one, the median over the rounds. Public names alone are
used, and the same in both.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("before", None, "folder of the other checkout")
flags.DEFINE_integer("rounds", 5, "processes of each program and checkout", lower_bound=1)
flags.DEFINE_list("programs", None, "which of the programs to run; all by default")
flags.DEFINE_string("json", None, "file for the results; none by default")
flags.DEFINE_string("only", None, "run one program here and print its seconds; used internally")

HERE = pathlib.Path(__file__).resolve().parents[2]


def repeat(function: Callable[[], Any], times: int, warm: int) -> Iterator[float]:
    """Yields the seconds of each call after the first ones."""
    for turn in range(warm + times):
        start = time.perf_counter()
        function()
        if turn >= warm:
            yield time.perf_counter() - start


def network(width: int) -> Any:
    """A compiled network of three layers."""
    import keras

    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    model = keras.Sequential(
        [keras.Input((784,)), dense(width, "relu"), dense(width, "relu"), dense(10, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def train_step() -> list[float]:
    """Steps of a network of 1.9 million weights, 80 % pruned, batch 64."""
    import numpy as np

    import kprune

    model = network(1024)
    kprune.prune(model, 0.8)
    generator = np.random.default_rng(0)
    x = generator.random((64, 784), np.float32)
    y = generator.integers(0, 10, 64)
    return list(repeat(lambda: model.train_on_batch(x, y), 200, 20))


def mask_update() -> list[float]:
    """Updates of the masks of 5.8 million weights along a schedule, class-blind by magnitude."""
    import kprune

    model = kprune.wrap(network(2048))
    sparsities = iter([0.02 * step for step in range(1, 45)])
    return list(repeat(lambda: kprune.prune(model, next(sparsities)), 40, 4))


def layer_solve() -> list[float]:
    """Optimal Brain Surgeon to 80 % in a network of 256 units a layer, from 512 samples."""
    import numpy as np

    import kprune

    x = np.random.default_rng(0).random((512, 784), np.float32)

    def solve() -> None:
        kprune.prune(network(256), 0.8, kprune.criteria.OBS(x, damping=0.01))

    return list(repeat(solve, 3, 1))


def latency() -> list[float]:
    """Calls of a sparse float32 TFLite file of 1024 units a layer, 95 % zeros, batch 1."""
    import tempfile

    import numpy as np
    import tensorflow as tf

    import kprune

    model = network(1024)
    kprune.prune(model, 0.95)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.tflite")
        kprune.export.to_tflite(kprune.strip(model), path, target="x86", timing_seconds=0)
        interpreter = tf.lite.Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(
        interpreter.get_input_details()[0]["index"], np.ones((1, 784), np.float32)
    )
    return list(repeat(interpreter.invoke, 2000, 100))


PROGRAMS = {each.__name__: each for each in (train_step, mask_update, layer_solve, latency)}


def seconds(folder: pathlib.Path, name: str) -> float:
    """Runs a program with the kprune of a checkout, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, f"--only={name}"],
        env={**os.environ, "PYTHONPATH": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name} failed in {folder}:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def main(_: list[str]) -> None:
    """Runs the programs in turn, and prints seconds and ratios."""
    if FLAGS.only:
        print(statistics.median(PROGRAMS[FLAGS.only]()))
        return
    if not FLAGS.before:
        raise app.UsageError("Name the other checkout: --before=FOLDER.")
    folders = {"before": pathlib.Path(FLAGS.before).resolve(), "now": HERE}
    rows: dict[str, dict[str, list[float]]] = {}
    for turn in range(FLAGS.rounds):
        for name in FLAGS.programs or PROGRAMS:
            for which in list(folders)[:: 1 if turn % 2 else -1]:
                row = rows.setdefault(name, {}).setdefault(which, [])
                row.append(seconds(folders[which], name))
    for name, row in rows.items():
        ratios = [now / before for now, before in zip(row["now"], row["before"], strict=True)]
        before, now = (statistics.median(row[which]) * 1e3 for which in ("before", "now"))
        print(
            f"{name:12} before {before:9.3f} ms, now {now:9.3f} ms, ratio "
            f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]"
        )
    if FLAGS.json:
        pathlib.Path(FLAGS.json).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
