"""Time and memory of one class-blind mask update, against the older toolkit's own update.

    python benchmarks/mask_update.py --json=mask_update.json

Four sets of kernels: two small networks, twenty square layers, and the kernels of BERT base. Both
sides prune from dense to half and on to 80 %, in turns. Ours is `kprune.step`, which ranks all
layers together. The toolkit's is what its wrapper runs in each layer's call in training, one layer
after another (`conditional_mask_update`, `weight_mask_op`, compiled); it cannot rank layers
together. Compared by weight.
"""

import gc
import time
from typing import Any

import keras
import measuring
import numpy as np
import tensorflow as tf
from absl import app, flags

import kprune
from kprune import tables

FLAGS = flags.FLAGS
flags.DEFINE_integer("repeats", 5, "updates measured of each kind", lower_bound=1)
flags.DEFINE_integer("peer_repeats", 3, "the same of the older toolkit", lower_bound=0)
flags.DEFINE_integer("peer_weights", 200_000_000, "the most weights that the toolkit is given")
flags.DEFINE_string("json", None, "file for the results; none by default")

SPARSITIES = 0.5, 0.8
BERT_LAYER = [(768, 768)] * 4 + [(768, 3072), (3072, 768)]
SHAPES = {
    "8 layers": [(512, 512)] * 8,
    "784-1024-1024-10": [(784, 1024), (1024, 1024), (1024, 10)],
    "20 layers": [(1024, 1024)] * 20,
    "BERT base": [(30522, 768), (512, 768), *BERT_LAYER * 12, (768, 768)],
}


class Kernels(keras.Model):
    """A model that is nothing but kernels."""

    def __init__(self, shapes: list[tuple[int, int]]) -> None:
        super().__init__()
        generator = np.random.default_rng(0)
        self.holders = [keras.layers.Layer(name=f"layer_{i}") for i in range(len(shapes))]
        for layer, shape in zip(self.holders, shapes, strict=True):
            layer.built = True
            kernel = layer.add_weight(name="kernel", shape=shape, initializer="zeros")
            kernel.assign(generator.standard_normal(shape, np.float32))
        self.built = True


def ours(shapes: list[tuple[int, int]]) -> dict[str, list[float]]:
    """Measures kprune's two updates: seconds, and bytes above the model and its masks."""
    model = kprune.wrap(Kernels(shapes))
    schedule = kprune.schedules.Function(lambda step: SPARSITIES[step], 0, 1, frequency=1)
    seconds, extra = [], []
    gc.collect()
    for step in range(len(SPARSITIES)):
        with measuring.memory() as memory:
            start = time.perf_counter()
            kprune.step(model, schedule, step)
            seconds.append(time.perf_counter() - start)
        extra.append(float(memory.extra))
    return {"seconds": seconds, "extra": extra}


def theirs(shapes: list[tuple[int, int]]) -> dict[str, list[float]]:
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
    return {"seconds": seconds}


def main(_: list[str]) -> None:
    """Measures every set of kernels and prints a table."""
    rows, results = [], {}
    for name, shapes in SHAPES.items():
        weights = sum(rows * columns for rows, columns in shapes)
        own: dict[str, list[float]] = {"seconds": [], "extra": []}
        peer: dict[str, list[float]] = {"seconds": []}
        ours(shapes)  # what a first call compiles and allocates belongs to no update
        for repeat in range(FLAGS.repeats):
            for key, values in ours(shapes).items():
                own[key] += values
            if repeat < FLAGS.peer_repeats and weights <= FLAGS.peer_weights:
                peer["seconds"] += theirs(shapes)["seconds"]
        speed = weights / np.median(own["seconds"])
        peer_speed = weights / np.median(peer["seconds"]) if peer["seconds"] else None
        rows.append(
            [
                name,
                f"{weights / 1e6:.1f}",
                measuring.spread(own["seconds"]),
                f"{speed / 1e6:.0f}",
                f"{max(own['extra']) / (4 * weights):.2f}",
                f"{max(rows * columns for rows, columns in shapes) / weights:.2f}",
                f"{peer_speed / 1e6:.1f}" if peer_speed else "-",
                f"{speed / peer_speed:.0f}x" if peer_speed else "-",
            ]
        )
        results[name] = {"weights": weights, "kprune": own, "tfmot": peer}
    columns = ["kernels", "M", "kprune ms", "M/s", "extra", "largest", "TFMOT M/s", "faster"]
    footer = (
        "M: million weights; ms: median [quartiles] of an update; M/s: million weights a second\n"
        "extra: greatest peak of memory above model and masks; largest: the largest kernel; both\n"
        "as parts of the weights' bytes"
    )
    print(tables.render("One class-blind mask update", columns, rows, footer))
    measuring.save(FLAGS.json, results)


if __name__ == "__main__":
    app.run(main)
