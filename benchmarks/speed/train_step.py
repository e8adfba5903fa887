"""Compares the step time of a wrapped model with that of the same model unwrapped.

    python -m benchmarks.speed.train_step --json=train_step.json

A 784-1024-1024-10 network with Adam, in three copies that take turns, a step each: unwrapped;
wrapped and 80 % pruned; wrapped with an update of the masks every `--frequency` steps, through the
callback that `fit` calls. The older toolkit is measured the same way in a process of its own, since
it needs the legacy Keras.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 5, "fresh sets of models at each batch size", lower_bound=1)
flags.DEFINE_integer("steps", 200, "steps of each kind in a round", lower_bound=10)
flags.DEFINE_integer("frequency", 100, "steps from one update of the masks to the next")
flags.DEFINE_list("batch_sizes", ["256", "64"], "batch sizes")
flags.DEFINE_bool("peer", True, "measure the older toolkit too")
flags.DEFINE_string("json", None, "file for the results; none by default")
flags.DEFINE_bool("only_peer", False, "print the older toolkit's seconds as JSON; used internally")

WARM = 10  # steps that trace, compile and allocate


def turns(steppers: dict[str, Any], steps: int) -> dict[str, list[float]]:
    """Times each stepper in turn, the first of a turn another one each time."""
    seconds: dict[str, list[float]] = {name: [] for name in steppers}
    names = list(steppers)
    for turn in range(WARM + steps):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            steppers[name]()
            if turn >= WARM:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def rounds(measure: Any, size: int) -> dict[str, list[float]]:
    """Repeats a measurement with fresh models: where their memory lies is luck, and shows."""
    seconds: dict[str, list[float]] = {}
    for _ in range(FLAGS.rounds):
        for kind, each in measure(size).items():
            seconds.setdefault(kind, []).extend(each)
    return seconds


def batch(size: int) -> tuple[Any, Any]:
    """Returns a batch of noise with labels."""
    generator = np.random.default_rng(0)
    x = generator.random((size, 784), np.float32)
    return x, generator.integers(0, 10, size)


def ours(size: int) -> dict[str, list[float]]:
    """Measures kprune, with Keras 3."""
    import keras
    import tensorflow as tf

    import kprune

    def stepper(kind: str) -> Any:
        keras.utils.set_random_seed(0)
        dense = keras.layers.Dense
        model = keras.Sequential(
            [keras.Input((784,)), dense(1024, "relu"), dense(1024, "relu"), dense(10)]
        )
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        callback = keras.callbacks.Callback()
        if kind != "unwrapped":
            kprune.wrap(model)
            kprune.prune(model, 0.5 if kind == "updated" else 0.8)
        if kind == "updated":
            # A ramp that asks for more zeros at every update.
            schedule = kprune.schedules.PolynomialDecay(
                0.5, 0.8, 0, WARM + FLAGS.steps, power=1, frequency=FLAGS.frequency
            )
            callback = kprune.callbacks.Pruning(schedule)
        callback.set_params({"epochs": 1, "steps": WARM + FLAGS.steps})
        callback.set_model(model)
        callback.on_train_begin()
        callback.on_epoch_begin(0)
        model.make_train_function()
        data = tf.data.Dataset.from_tensors(tuple(map(tf.constant, batch(size)))).repeat()
        iterator = iter(data)

        def step() -> None:
            logs = model.train_function(iterator)
            callback.on_train_batch_end(0, logs)

        return step

    kinds = ("unwrapped", "masked", "updated")
    return turns({kind: stepper(kind) for kind in kinds}, FLAGS.steps)


def theirs(size: int) -> dict[str, list[float]]:
    """Measures the older toolkit, with the legacy Keras."""
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras

    def stepper(kind: str) -> Any:
        tf_keras.utils.set_random_seed(0)
        dense = tf_keras.layers.Dense
        model = tf_keras.Sequential(
            [tf_keras.Input((784,)), dense(1024, "relu"), dense(1024, "relu"), dense(10)]
        )
        sparsity = tfmot.sparsity.keras
        callback = tf_keras.callbacks.Callback()
        if kind != "unwrapped":
            steps = WARM + FLAGS.steps
            schedule = sparsity.ConstantSparsity(0.8, 0, 1, frequency=1)
            if kind == "updated":
                schedule = sparsity.PolynomialDecay(
                    0.5, 0.8, 0, steps, power=1, frequency=FLAGS.frequency
                )
            model = sparsity.prune_low_magnitude(model, pruning_schedule=schedule)
            callback = sparsity.UpdatePruningStep()
        model.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        callback.set_model(model)
        callback.on_train_begin()
        function = model.make_train_function()
        data = tf.data.Dataset.from_tensors(tuple(map(tf.constant, batch(size)))).repeat()
        iterator = iter(data)

        def step() -> None:
            callback.on_train_batch_begin(0)
            function(iterator)

        return step

    kinds = ("unwrapped", "masked", "updated")
    return turns({kind: stepper(kind) for kind in kinds}, FLAGS.steps)


def peer(size: int) -> dict[str, list[float]]:
    """Runs `theirs` in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, "--only_peer", f"--batch_sizes={size}"]
    command += [f"--{name}={FLAGS[name].value}" for name in ("rounds", "steps", "frequency")]
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def main(_: list[str]) -> None:
    """Measures every batch size and prints a table."""
    sizes = [int(size) for size in FLAGS.batch_sizes]
    if FLAGS.only_peer:
        print(json.dumps(rounds(theirs, sizes[0])))
        return
    from benchmarks.parts import results, spread
    from kprune._support import tables

    rows, found = [], {}
    for size in sizes:
        measured = {"kprune": rounds(ours, size)} | ({"TFMOT": peer(size)} if FLAGS.peer else {})
        found[str(size)] = measured
        for name, seconds in measured.items():
            base = np.array(seconds["unwrapped"])
            for kind in ("masked", "updated"):
                own = np.array(seconds[kind])
                rows.append(
                    [
                        size,
                        name,
                        kind,
                        spread.format_quartiles(list(1e3 * base)),
                        spread.format_quartiles(list(1e3 * own)),
                        f"{np.median(own) / np.median(base):.3f}",
                        f"{own.mean() / base.mean():.3f}",
                    ]
                )
    columns = ["batch", "package", "kind", "unwrapped ms", "step ms", "median", "mean"]
    footer = (
        f"ms: median [quartiles] of {FLAGS.rounds} x {FLAGS.steps} steps, interleaved\n"
        "median, mean: ratio to the unwrapped step\n"
        f"updated: new masks every {FLAGS.frequency} steps, counted in"
    )
    title = "A training step of 784-1024-1024-10 with Adam"
    print(tables.render(title, columns, rows, footer))
    results.save(FLAGS.json, found)


if __name__ == "__main__":
    app.run(main)
