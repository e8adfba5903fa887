"""Measures the accuracy of networks pruned at once, by method and sparsity, without retraining.

    python -m benchmarks.accuracy.one_shot --network=digits --seeds=0,1,2,3,4
    python -m benchmarks.accuracy.one_shot --network=lenet_300_100 --data_dir=DIR --seeds=0,1,2
    python -m benchmarks.accuracy.one_shot --network=lenet_5 --data_dir=DIR --seeds=0,1,2
    python -m benchmarks.accuracy.one_shot --network=resnet20 --data_dir=DIR

Every method prunes the same trained network, all its kernels, to each sparsity at once, from
calibration samples of the training set, as many of each class. If there is batch normalization, its
statistics are then estimated anew, on samples augmented as in training. A seed is that of the
network's training (ResNet-20: one network for all), of the calibration samples, and of random
scores. Rows that are in --json are not computed again.
"""

import functools
import pathlib
import statistics
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

import kprune
from benchmarks.parts import results, spread
from benchmarks.parts.figures import one_shot_curves
from benchmarks.parts.networks import trained
from benchmarks.parts.one_shot_methods import (
    DEFAULTS,
    INFEASIBLE,
    NAMES,
    OF_FEW,
    STEPS,
    build_methods,
)
from kprune._support import tables
from reports import frame

FLAGS = flags.FLAGS
Array = np.ndarray[Any, Any]
Row = dict[str, Any]

BATCH = 1000  # samples evaluated at a time
flags.DEFINE_enum("network", "digits", list(trained.NETWORKS), "what to prune")
flags.DEFINE_string("data_dir", None, "folder with mnist/, resnet_cifar10/ and cifar10_jpg/")
flags.DEFINE_string("cache", "savedmodels/networks", "directory for the trained networks")
flags.DEFINE_list("seeds", ["0"], "of training, of the calibration samples, of random scores")
flags.DEFINE_list("sparsities", None, "fractions of zeros; default: those of the network")
flags.DEFINE_integer("samples", None, "calibration samples", lower_bound=10)
flags.DEFINE_integer("few", None, f"of them for OBD, {' and '.join(OF_FEW)}", lower_bound=10)
flags.DEFINE_list("methods", None, f"some of: {', '.join(NAMES)}; default: all that are feasible")
flags.DEFINE_string("json", None, "file for the results; rows that are in it are not run again")
flags.DEFINE_string("figure", None, "PNG to draw the best known methods to; none by default")
flags.register_validator(
    "methods",
    lambda names: names is None or set(names) <= set(NAMES),
    f"expected some of: {', '.join(NAMES)}",
)


def measure(
    network: trained.Network, arguments: dict[str, Any], sparsity: float, seed: int, dense: float
) -> Row:
    """Prunes once, and returns the seconds that takes and the accuracies, in percent.

    Args:
        network: whose model is pruned, and restored afterwards.
        arguments: of `kprune.prune`.
        sparsity: fraction of zeros.
        seed: of the augmentation.
        dense: accuracy before pruning, for the row.
    """
    model = network.model
    held = model.get_weights()
    kprune.wrap(model)
    start = time.perf_counter()
    report = kprune.prune(model, sparsity, **arguments)
    seconds = time.perf_counter() - start
    row = {"dense": dense, "zeros": report.sparsity, "seconds": seconds}
    row["before"] = accuracy(model, network.test)
    if network.augmented is not None:
        x, _ = trained.calibration(network.train, FLAGS.samples or 1024, seed)
        kprune.recalibrate_batch_norm(model, network.augmented(x, seed))
    row["after"] = accuracy(model, network.test)
    kprune.strip(model)
    model.set_weights(held)
    return row


def accuracy(model: keras.Model, test: trained.Labelled) -> float:
    """Returns the top-1 accuracy in percent."""
    found = model.evaluate(*test, batch_size=BATCH, verbose=0, return_dict=True)
    return 100 * float(found["accuracy"])


def cell(rows: list[Row]) -> str:
    """Formats the mean accuracy of some runs, and its standard error if there are several."""
    return spread.format_mean([row["after"] for row in rows], 1)


def mean_dense(rows: list[Row]) -> float:
    """Returns the mean accuracy of the dense networks."""
    return statistics.mean({row["seed"]: row["dense"] for row in rows}.values())


def table(title: str, rows: list[Row], names: list[str], sparsities: list[float]) -> str:
    """Formats the accuracies after the recalibration, a line for each method."""
    lines = []
    for name in names:
        own = [row for row in rows if row["method"] == name]
        seconds = statistics.median([row["seconds"] for row in own])
        each = [cell([row for row in own if row["sparsity"] == s]) for s in sparsities]
        lines.append([name, *each, f"{seconds:.1f}"])
    models = ", block, full" if set(OF_FEW) <= set(names) else ""
    footer = (
        f"{rows[0]['samples']} calibration samples; OBD{models}: {rows[0]['few']}\n"
        f"OBD in parts{models}: {STEPS} parts\n"
        "class-blind, but for uniform and erk; Wanda within outputs, SparseGPT within slabs\n"
        "LS: least squares; s: seconds to prune, median"
        + (f"\n{len(FLAGS.seeds)} seeds: mean (standard error)" if len(FLAGS.seeds) > 1 else "")
    )
    head = f"{title}, pruned at once: test accuracy, dense {mean_dense(rows):.2f} %"
    return tables.render(head, ["method", *(f"{s:.0%}" for s in sparsities), "s"], lines, footer)


def main(_: list[str]) -> None:
    """Measures what is not in the file yet, and prints a table."""
    tf.get_logger().setLevel("ERROR")  # it warns of retracing for each new trace
    given, samples, few = DEFAULTS[FLAGS.network]
    sparsities = [float(each) for each in FLAGS.sparsities or given]
    samples, few = FLAGS.samples or samples, FLAGS.few or few
    names = FLAGS.methods or [n for n in NAMES if n not in INFEASIBLE[FLAGS.network]]
    kept, rows, title = results.Rows(FLAGS.json), [], ""
    for seed in map(int, FLAGS.seeds):
        network = trained.NETWORKS[FLAGS.network](FLAGS.data_dir, pathlib.Path(FLAGS.cache), seed)
        dense, title = accuracy(network.model, network.test), network.title
        x, y = trained.calibration(network.train, samples, seed)
        every = build_methods(x, y, few, seed)
        for name in names:
            for sparsity in sparsities:
                key = {
                    "network": FLAGS.network,
                    "method": name,
                    "sparsity": sparsity,
                    "seed": seed,
                    "samples": samples,
                    "few": few,
                }
                prune = functools.partial(measure, network, every[name], sparsity, seed, dense)
                rows.append(kept.measure_once(key, prune))
    print(table(title, rows, names, sparsities))
    if FLAGS.figure:
        figure = one_shot_curves.draw(f"{title}, pruned at once", rows, mean_dense(rows))
        frame.save(figure, FLAGS.figure)


if __name__ == "__main__":
    app.run(main)
