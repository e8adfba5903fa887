"""Compares the time of a training step on every backend of Keras, with and without masks.

    python -m benchmarks.speed.backends --json=backends.json

A 784-1024-1024-10 network with Adam and batches of 64, in copies that take turns, an epoch of `fit`
each: unwrapped; wrapped and pruned; wrapped, with new masks every `--frequency` steps. On JAX also
with the step traced again after each mask update, which is what masks that are constants of the
compiled step would need. Each backend runs in a process of its own.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_list("backends", ["tensorflow", "jax", "torch"], "which backends")
flags.DEFINE_integer("rounds", 7, "epochs of each kind", lower_bound=2)
flags.DEFINE_integer("steps", 300, "steps of an epoch", lower_bound=10)
flags.DEFINE_integer("frequency", 100, "steps from one update of the masks to the next")
flags.DEFINE_string("json", None, "file for the results; none by default")
flags.DEFINE_bool("only", False, "print the seconds of this process's backend; used internally")

BATCH_SIZE = 64
UPDATE = "one update"


def measure() -> dict[str, list[float]]:
    """Returns the seconds of a step of each kind, one number a round, and those of each update."""
    import keras

    import kprune
    from kprune._keras import compiled

    generator = np.random.default_rng(0)
    x = generator.random((FLAGS.steps * BATCH_SIZE, 784), np.float32)
    y = generator.integers(0, 10, len(x))

    updates: list[float] = []

    class Updates(keras.callbacks.Callback):
        """Prunes a little more at fixed steps; idle in the kinds that these are compared with.

        A callback at each step makes Keras wait for its logs, on JAX too.
        """

        def __init__(self, kind: str) -> None:
            super().__init__()
            self.prunes, self.retraces = kind in ("updated", "retraced"), kind == "retraced"
            self.sparsity = 0.5

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.prunes and batch % FLAGS.frequency == FLAGS.frequency // 2:
                self.sparsity = min(0.95, self.sparsity + 0.01)
                start = time.perf_counter()
                kprune.prune(self.model, self.sparsity)
                updates.append(time.perf_counter() - start)
                if self.retraces:
                    compiled.forget(self.model)

    def prepare(kind: str) -> Any:
        keras.utils.set_random_seed(0)
        dense = keras.layers.Dense
        model = keras.Sequential(
            [keras.Input((784,)), dense(1024, "relu"), dense(1024, "relu"), dense(10)]
        )
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        if kind != "unwrapped":
            kprune.prune(model, 0.5)
        callbacks = [Updates(kind)]
        return lambda: model.fit(x, y, batch_size=BATCH_SIZE, verbose=0, callbacks=callbacks)

    kinds = ["unwrapped", "masked", "updated"]
    if keras.backend.backend() == "jax":
        kinds.append("retraced")
    fits = {kind: prepare(kind) for kind in kinds}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(FLAGS.rounds + 1):  # the first compiles
        for kind in kinds[turn % len(kinds) :] + kinds[: turn % len(kinds)]:
            start = time.perf_counter()
            fits[kind]()
            if turn:
                seconds[kind].append((time.perf_counter() - start) / FLAGS.steps)
            else:
                updates.clear()
    return seconds | {UPDATE: updates}


def main(_: list[str]) -> None:
    """Measures every backend and prints a table."""
    if FLAGS.only:
        print(json.dumps(measure()))
        return
    from benchmarks.parts import results
    from kprune._support import tables

    rows, found = [], {}
    for backend in FLAGS.backends:
        command = [sys.executable, "-m", __spec__.name, "--only"]
        command += [f"--{name}={FLAGS[name].value}" for name in ("rounds", "steps", "frequency")]
        environment = {**os.environ, "KERAS_BACKEND": backend}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found[backend] = json.loads(done.stdout.splitlines()[-1])
        base = found[backend]["unwrapped"]
        for kind, seconds in found[backend].items():
            pairs = zip(seconds, base, strict=True)
            if kind == UPDATE:
                pairs = ((each, statistics.median(base)) for each in seconds)
            ratios = sorted(a / b for a, b in pairs)
            spread = f"{statistics.median(ratios):.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]"
            rows.append([backend, kind, f"{1e3 * statistics.median(seconds):.2f}", spread])
    columns = ["backend", "kind", "ms", "ratio to an unwrapped step"]
    footer = (
        f"median [least, greatest] of {FLAGS.rounds} epochs of {FLAGS.steps} steps, in turn\n"
        f"updated: new masks every {FLAGS.frequency} steps, counted in\n"
        "one update: of all masks, between two steps\n"
        "retraced: as updated, and the step is traced again after each"
    )
    print(tables.render("A training step of 784-1024-1024-10 with Adam", columns, rows, footer))
    results.save(FLAGS.json, found)


if __name__ == "__main__":
    app.run(main)
