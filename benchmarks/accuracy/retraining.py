"""Compares ways to retrain a pruned network: dropout, regularizer, one cut or several (Han et al.).

    python -m benchmarks.accuracy.retraining --data_dir=DIR --seeds=0,1,2 --json=FILE --figure=PNG

LeNet-5 on MNIST is trained with L1 or with L2, pruned by magnitude, class-blind, and retrained for
the same number of epochs at the same learning rates in every row: after one cut, or between four,
the last after half of them. Rows that are in --json are not computed again. (One threshold in units
of each layer's spread, class-distribution, leaves the first convolution too little at these
sparsities.)
"""

import dataclasses
import functools
import math
import pathlib
import statistics
from typing import Any

import keras
import tensorflow as tf
from absl import app, flags

import kprune
from benchmarks.parts import results, spread
from benchmarks.parts.figures import recovery_curves
from benchmarks.parts.networks import trained
from data import images
from kprune._support import tables
from networks import lenet
from reports import frame

FLAGS = flags.FLAGS
Row = dict[str, Any]

DENSE = kprune.training.Recipe(epochs=8, learning_rate=1e-3, halve_every=3)
PENALTIES = {"L1": keras.regularizers.L1(1e-5), "L2": keras.regularizers.L2(1e-4)}
DROPOUT = 0.5


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to prune and retrain.

    Args:
        penalty: of the training and the retraining.
        cuts: how many there are; 0 for one cut and no retraining.
        adjusted: whether dropout is lowered as connections go.
    """

    penalty: str
    cuts: int
    adjusted: bool


VARIANTS = {
    "L1, not retrained": Variant("L1", 0, True),
    "L2, not retrained": Variant("L2", 0, True),
    "L1, one cut": Variant("L1", 1, True),
    "L2, one cut": Variant("L2", 1, True),
    "L2, one cut, dropout kept": Variant("L2", 1, False),
    "L2, four cuts": Variant("L2", 4, True),
}

flags.DEFINE_string("data_dir", None, "folder with mnist/, the four IDX files")
flags.DEFINE_string("cache", "savedmodels/networks", "directory for the trained networks")
flags.DEFINE_list("seeds", ["0"], "of initial weights, order of images, dropout")
flags.DEFINE_list("sparsities", ["0.95", "0.98", "0.99"], "fractions of zeros")
flags.DEFINE_integer("epochs", 4, "of retraining", lower_bound=2)
flags.DEFINE_integer("images", 20_000, "to train with, the first of 60,000", lower_bound=128)
flags.DEFINE_integer("batch_size", 128, "images in an update", lower_bound=1)
flags.DEFINE_string("json", None, "file for the results; rows that are in it are not run again")
flags.DEFINE_string("figure", None, "PNG to draw the accuracies to; none by default")


def compiled(model: keras.Model, recipe: kprune.training.Recipe, samples: int) -> keras.Model:
    """Compiles a model with Adam at the learning rates of a recipe."""
    rates = recipe.schedule(math.ceil(samples / FLAGS.batch_size))
    optimizer = keras.optimizers.Adam(rates)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def dense(penalty: str, found: images.Images, seed: int) -> keras.Model:
    """Returns the trained network of a seed, from its file if there is one."""

    def make() -> keras.Model:
        model = lenet.lenet_5(found.shape, found.classes, DROPOUT)
        compiled(kprune.wrap(model), DENSE, len(found.train[0]))
        regularization = kprune.callbacks.Regularization(PENALTIES[penalty])
        fit(model, found, DENSE.epochs, [regularization])
        return kprune.strip(model)

    path = pathlib.Path(FLAGS.cache, f"lenet_5-{penalty}-{FLAGS.images}-{seed}.keras")
    return trained.cached(path, make, seed)


def fit(model: keras.Model, found: images.Images, epochs: int, callbacks: list[Any]) -> None:
    """Trains a compiled model."""
    model.fit(*found.train, FLAGS.batch_size, epochs, verbose=0, callbacks=callbacks)


def measure(variant: Variant, sparsity: float, found: images.Images, seed: int) -> Row:
    """Prunes and retrains; returns the accuracies in percent and the rate of dropout at the end."""
    keras.backend.clear_session()
    model = dense(variant.penalty, found, seed)
    row = {"dense": accuracy(model, found)}
    keras.utils.set_random_seed(seed)
    kprune.wrap(model)
    if variant.cuts:
        recipe = dataclasses.replace(DENSE, epochs=FLAGS.epochs, halve_every=FLAGS.epochs / 2)
        compiled(model, recipe.lowered(epochs=1), len(found.train[0]))
        updates = FLAGS.epochs * math.ceil(len(found.train[0]) / FLAGS.batch_size)
        callbacks: list[Any] = [
            kprune.callbacks.Pruning(
                cuts(sparsity, variant.cuts, updates), allocation="class_blind"
            ),
            kprune.callbacks.Regularization(PENALTIES[variant.penalty]),
        ]
        if variant.adjusted:
            callbacks.insert(1, kprune.callbacks.DropoutRatioAdjustment())
        fit(model, found, FLAGS.epochs, callbacks)
    else:
        kprune.prune(model, sparsity, allocation="class_blind")
    row["zeros"] = kprune.report(model).sparsity
    row["dropout"] = model.get_layer("dropout_500").rate
    return {**row, "after": accuracy(model, found)}


def cuts(sparsity: float, number: int, updates: int) -> kprune.schedules.Schedule:
    """Returns a schedule of so many cuts, the first at once, the last after half of the updates.

    The same part of the survivors goes in each: `s_k = 1 - (1 - sparsity) ** (k / number)`.
    """
    if number == 1:
        return kprune.schedules.Constant(sparsity)
    every = updates // 2 // (number - 1)
    return kprune.schedules.Function(
        lambda step: 1 - (1 - sparsity) ** ((1 + step // every) / number),
        begin_step=0,
        end_step=every * (number - 1),
        frequency=every,
    )


def accuracy(model: keras.Model, found: images.Images) -> float:
    """Returns the accuracy on the test images, in percent."""
    return 100 * images.accuracy(model, found.test)


def cell(rows: list[Row]) -> str:
    """Formats the mean test error of some runs, and its standard error if there are several."""
    return spread.format_mean([100 - row["after"] for row in rows])


def table(rows: list[Row], sparsities: list[float]) -> str:
    """Formats the test errors, a line for each variant."""
    lines = []
    for name in VARIANTS:
        own = [row for row in rows if row["variant"] == name]
        each = [cell([row for row in own if row["sparsity"] == s]) for s in sparsities]
        rates = [f"{row['dropout']:.2f}" for row in own if row["sparsity"] == sparsities[-1]]
        lines.append([name, *each, rates[0] if rates else "-"])
    dense = {row["variant"][:2]: [] for row in rows}
    for row in rows:
        dense[row["variant"][:2]].append(100 - row["dense"])
    footer = (
        f"dense: {', '.join(f'{k} {statistics.mean(v):.2f}' for k, v in dense.items())}; "
        f"{DENSE.epochs} epochs of {FLAGS.images:,} images, retraining {FLAGS.epochs}\n"
        "L1: 1e-5 sum |w|; L2: 1e-4 sum w^2, while training and retraining\n"
        f"dropout: its rate after the last sparsity, from {DROPOUT}"
        + (f"\n{len(FLAGS.seeds)} seeds: mean (standard error)" if len(FLAGS.seeds) > 1 else "")
    )
    columns = ["", *(f"{s:.0%}" for s in sparsities), "dropout"]
    return tables.render("LeNet-5 on MNIST: test error in percent", columns, lines, footer)


def main(_: list[str]) -> None:
    """Measures what is not in the file yet, and prints a table."""
    tf.get_logger().setLevel("ERROR")
    sparsities = [float(each) for each in FLAGS.sparsities]
    kept = results.Rows(FLAGS.json)
    folder = None if FLAGS.data_dir is None else str(pathlib.Path(FLAGS.data_dir, "mnist"))
    found, rows = images.load("mnist", folder), []
    found = dataclasses.replace(found, train=tuple(each[: FLAGS.images] for each in found.train))
    budget = {"images": FLAGS.images, "epochs": FLAGS.epochs, "batch_size": FLAGS.batch_size}
    for seed in map(int, FLAGS.seeds):
        for sparsity in sparsities:
            for name, variant in VARIANTS.items():
                key = {"variant": name, "sparsity": sparsity, "seed": seed, **budget}
                prune = functools.partial(measure, variant, sparsity, found, seed)
                rows.append(kept.measure_once(key, prune))
    print(table(rows, sparsities))
    if FLAGS.figure:
        frame.save(recovery_curves.draw("LeNet-5 on MNIST", rows), FLAGS.figure)


if __name__ == "__main__":
    app.run(main)
