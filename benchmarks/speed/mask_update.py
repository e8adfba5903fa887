"""Compares the time and memory of a class-blind mask update with that of the older toolkit.

    python -m benchmarks.speed.mask_update --json=mask_update.json

Four sets of kernels: two small networks, twenty square layers, and the kernels of BERT base. Both
sides prune from dense to half and on to 80 %, in turns. Ours is `kprune.step`, which ranks all
layers together. The toolkit's is what its wrapper runs in each layer's call in training, one layer
after another (`conditional_mask_update`, `weight_mask_op`, compiled); it cannot rank layers
together. Compared by weight.
"""

import contextlib
import os
import subprocess
import sys
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

import kprune
from benchmarks.parts import results, spread
from benchmarks.parts.memory import measure_memory
from kprune._support import tables

FLAGS = flags.FLAGS
flags.DEFINE_integer("repeats", 5, "updates measured of each kind", lower_bound=1)
flags.DEFINE_integer("peer_repeats", 3, "the same of the older toolkit", lower_bound=0)
flags.DEFINE_integer("peer_weights", 200_000_000, "the most weights that the toolkit is given")
flags.DEFINE_string("json", None, "file for the results; none by default")
flags.DEFINE_string("only_peak", None, "print the peak of one set of kernels; used internally")

SPARSITIES = 0.5, 0.8
BERT_LAYER = [(768, 768)] * 4 + [(768, 3072), (3072, 768)]
SHAPES = {
    "8 layers": [(512, 512)] * 8,
    "784-1024-1024-10": [(784, 1024), (1024, 1024), (1024, 10)],
    "20 layers": [(1024, 1024)] * 20,
    "BERT base": [(30522, 768), (512, 768), *BERT_LAYER * 12, (768, 768)],
}


class Kernels(keras.Model):
    """A model that only holds kernels."""

    def __init__(self, shapes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.holders = [keras.layers.Layer(name=f"layer_{i}") for i in range(len(shapes))]
        for layer, shape in zip(self.holders, shapes, strict=True):
            layer.built = True
            layer.add_weight(name="kernel", shape=shape, initializer="random_normal")
        self.built = True


def ours(shapes: list[tuple[int, int]], peaks: bool = False) -> list[float]:
    """Measures kprune's two updates: seconds, or the peaks of memory in bytes.

    An update before them makes the first masks and whatever TensorFlow allocates once.
    """
    model = kprune.wrap(Kernels(shapes))
    levels = (0.1, *SPARSITIES)
    schedule = kprune.schedules.Function(lambda step: levels[step], 0, len(levels), frequency=1)
    measured = []
    for step in range(len(levels)):
        with measure_memory() if peaks else contextlib.nullcontext() as memory:
            start = time.perf_counter()
            kprune.step(model, schedule, step)
            seconds = time.perf_counter() - start
        measured.append(float(memory.extra) if memory else seconds)
    return measured[1:]


def peak(name: str) -> float:
    """Runs `ours` in a process where freed memory goes back to the system at once."""
    command = [sys.executable, "-m", __spec__.name, f"--only_peak={name}"]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def theirs(shapes: list[tuple[int, int]]) -> list[float]:
    """Measures the older toolkit's two updates of the same kernels, layer after layer."""
    from tensorflow_model_optimization.python.core.sparsity.keras import (
        pruning_impl,
        pruning_schedule,
    )

    generator = np.random.default_rng(0)
    triples = [
        (tf.Variable(generator.standard_normal(shape, np.float32)), tf.Variable(tf.ones(shape)))
        for shape in shapes
    ]
    seconds = []
    for sparsity in SPARSITIES:
        updates = []
        for weight, mask in triples:
            update = pruning_impl.Pruning(
                training_step_fn=lambda: tf.constant(0),
                pruning_vars=[(weight, mask, tf.Variable(0.0))],
                pruning_schedule=pruning_schedule.ConstantSparsity(sparsity, 0, frequency=1),
                block_size=(1, 1),
                block_pooling_type="AVG",
            )

            @tf.function
            def run(update: Any = update) -> None:
                update.conditional_mask_update()
                update.weight_mask_op()

            updates.append(run.get_concrete_function())
        start = time.perf_counter()
        for run in updates:
            run()
        seconds.append(time.perf_counter() - start)
        pruned = 1 - sum(float(tf.reduce_sum(m)) for _, m in triples) / sum(
            float(tf.size(m)) for _, m in triples
        )
        assert abs(pruned - sparsity) < 1e-3, pruned  # it did prune
    return seconds


def main(_: list[str]) -> None:
    """Measures every set of kernels and prints a table."""
    if FLAGS.only_peak:
        print(max(ours(SHAPES[FLAGS.only_peak], peaks=True)))
        return
    rows, measured = [], {}
    for name, shapes in SHAPES.items():
        weights = sum(rows * columns for rows, columns in shapes)
        ours(shapes)  # what a first call compiles and allocates belongs to no update
        own: list[float] = []
        peer: list[float] = []
        for repeat in range(FLAGS.repeats):
            own += ours(shapes)
            if repeat < FLAGS.peer_repeats and weights <= FLAGS.peer_weights:
                peer += theirs(shapes)
        extra = peak(name) / (4 * weights)
        speed = weights / np.median(own)
        peer_speed = weights / np.median(peer) if peer else None
        rows.append(
            [
                name,
                f"{weights / 1e6:.1f}",
                spread.format_quartiles([1e3 * each for each in own]),
                f"{speed / 1e6:.0f}",
                f"{extra:.2f}",
                f"{max(rows * columns for rows, columns in shapes) / weights:.2f}",
                f"{peer_speed / 1e6:.1f}" if peer_speed else "-",
                f"{speed / peer_speed:.0f}x" if peer_speed else "-",
            ]
        )
        measured[name] = {"weights": weights, "seconds": own, "extra": extra, "tfmot": peer}
    columns = ["kernels", "M", "kprune ms", "M/s", "extra", "largest", "TFMOT M/s", "faster"]
    footer = (
        "M: million weights; ms: median [quartiles] of an update; M/s: million weights a second\n"
        "extra: peak of memory above model and masks; largest: the largest kernel; both as parts\n"
        "of the weights' bytes"
    )
    print(tables.render("One class-blind mask update", columns, rows, footer))
    results.save(FLAGS.json, measured)


if __name__ == "__main__":
    app.run(main)
