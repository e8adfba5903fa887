"""One-shot pruning of ResNet-20 on CIFAR-10 (JPEG q75): accuracy by method, nothing retrained.

    python benchmarks/one_shot_resnet20.py --data_dir=DIR --json=one_shot_resnet20.json

Every method prunes the same trained network, all convolutions and the dense layer, to each sparsity
at once. The statistics of batch normalisation are then estimated anew, and the network classifies
the 10,000 test images. The images are CIFAR-10 (JPEG q75): they went through JPEG at quality 75,
which costs accuracy, and the published network is fine-tuned on such images first, once, into
`--cache`. Calibration images come from the training set, as many of each class. The criteria see
them as they are; batch normalisation sees them flipped and shifted as in training, for that is what
its statistics were made of.
"""

import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import measuring
import numpy as np
import resnet20
import tensorflow as tf
from absl import app, flags

import kprune
from kprune import tables

FLAGS = flags.FLAGS
Array = np.ndarray[Any, Any]
Row = dict[str, Any]

TEST_BATCH = 1000  # images classified at a time
STATISTICS_BATCH = 128  # images of which batch normalisation takes statistics together
STEPS = 16  # parts of a cut by a model of the loss, which is good nearby alone


def methods(x: Array, y: Array, few: int, seed: int) -> dict[str, dict[str, Any]]:
    """Returns the arguments of `kprune.prune` for each method.

    Args:
        x: calibration images, normalised [n, 32, 32, 3].
        y: their labels [n].
        few: how many of them a model of the loss is made of.
        seed: of what is random.
    """
    criteria, least_squares = kprune.criteria, kprune.refits.LeastSquares
    blind, uniform = {"allocation": "class_blind"}, {"allocation": "class_uniform"}
    own_loss: dict[str, Any] = {"data": (x[:few], y[:few]), "recomputations": STEPS}
    return {
        "random": {"criterion": criteria.Random(seed), **blind},
        "magnitude": {"criterion": "magnitude", **blind},
        "magnitude uniform": {"criterion": "magnitude", **uniform},
        "magnitude erk": {"criterion": "magnitude", "allocation": "erk"},
        "OBD": {"criterion": criteria.OBD((x, y)), **blind},
        "Wanda": {"criterion": criteria.Wanda(x), **uniform},
        "SparseGPT": {"criterion": criteria.SparseGPT(x), **uniform},
        "SparseGPT + LS": {
            "criterion": criteria.SparseGPT(x),
            "refit": "least_squares",
            **uniform,
        },
        "magnitude + LS": {"criterion": "magnitude", "refit": least_squares(x), **blind},
        "magnitude uniform + LS": {"criterion": "magnitude", "refit": least_squares(x), **uniform},
        "magnitude erk + LS": {
            "criterion": "magnitude",
            "refit": least_squares(x),
            "allocation": "erk",
        },
        "OBS layerwise uniform": {"criterion": criteria.OBS(x), **uniform},
        "OBS layerwise uniform sequential": {
            "criterion": criteria.OBS(x, sequential=True),
            **uniform,
        },
        "OBS layerwise": {"criterion": criteria.OBS(x), **blind},
        "OBS block": {"criterion": criteria.OBS(hessian="block", **own_loss), **blind},
        "OBS full": {"criterion": criteria.OBS(hessian="full", **own_loss), **blind},
    }


NAMES = list(methods(np.empty(0), np.empty(0), 0, 0))
OF_FEW = "OBS block", "OBS full"

flags.DEFINE_string("data_dir", None, "where the checkpoint and the images are", required=True)
flags.DEFINE_string("cache", "savedmodels/resnet20", "directory for the fine-tuned model")
flags.DEFINE_integer("epochs", 3, "of fine-tuning; 0 is as published", lower_bound=0)
flags.DEFINE_integer("samples", 1024, "calibration images", lower_bound=10)
flags.DEFINE_integer("few", 256, f"of them for {' and '.join(OF_FEW)}", lower_bound=10)
flags.DEFINE_list("sparsities", ["0.5", "0.7", "0.8", "0.9"], "fractions of zeros")
flags.DEFINE_list("methods", NAMES, f"some of: {', '.join(NAMES)}")
flags.DEFINE_list("seeds", ["0"], "of the calibration images and of random scores")
flags.DEFINE_string("json", None, "file for the results; rows that are in it are not run again")
flags.register_validator(
    "methods", lambda names: set(names) <= set(NAMES), f"expected some of: {', '.join(NAMES)}"
)


def calibration(train: resnet20.Labelled, samples: int, seed: int) -> resnet20.Labelled:
    """Draws training images, each class as often as another or once more, in random order.

    Args:
        train: uint8 images and their labels.
        samples: how many to draw.
        seed: of the draw.

    Returns:
        Some of the images and their labels.
    """
    generator = np.random.default_rng(seed)
    x, y = train
    # Each class in an order of its own; the first of all classes, then the second of all, ...
    ranks = np.empty(len(y), np.int64)
    for label in np.unique(y):
        ranks[y == label] = generator.permutation(np.count_nonzero(y == label))
    order = generator.permutation(len(y))
    chosen = order[np.argsort(ranks[order], kind="stable")][:samples]
    chosen = generator.permutation(chosen)
    return x[chosen], y[chosen]


def shifted(x: Array, seed: int) -> list[Array]:
    """Returns the images as the network is trained with, in batches.

    Dense, the network loses 4 points with the statistics of images that are not augmented.

    Args:
        x: uint8 images.
        seed: of the flips and shifts.
    """
    keras.utils.set_random_seed(seed)
    data = tf.data.Dataset.from_tensor_slices(x).map(resnet20.augmented).batch(STATISTICS_BATCH)
    return list(data.as_numpy_iterator())


def measure(
    load: Callable[[], keras.Model],
    arguments: dict[str, Any],
    sparsity: float,
    statistics_of: list[Array],
    test: resnet20.Labelled,
) -> Row:
    """Prunes once, and returns the seconds it took and the accuracies, in percent.

    Args:
        load: makes the dense model.
        arguments: of `kprune.prune`.
        sparsity: fraction of zeros.
        statistics_of: batches of images for batch normalisation.
        test: normalised images and labels.
    """
    keras.utils.clear_session()
    model = kprune.wrap(load())
    start = time.perf_counter()
    report = kprune.prune(model, sparsity, **arguments)
    seconds = time.perf_counter() - start
    before = accuracy(model, test)
    kprune.recalibrate_batch_norm(model, statistics_of)
    return {
        "zeros": report.sparsity,
        "before": before,
        "after": accuracy(model, test),
        "seconds": seconds,
    }


def accuracy(model: keras.Model, test: resnet20.Labelled) -> float:
    """Returns the top-1 accuracy in percent."""
    found = model.evaluate(*test, batch_size=TEST_BATCH, verbose=0, return_dict=True)
    return 100 * float(found["accuracy"])


def cells(rows: list[Row]) -> str:
    """The mean accuracy of some runs, and its deviation where there are several."""
    found = [row["after"] for row in rows]
    if len(found) < 2:
        return f"{found[0]:.1f}" if found else "-"
    return f"{statistics.mean(found):.1f} ({statistics.stdev(found):.1f})"


def table(rows: list[Row], dense: float, sparsities: list[float]) -> str:
    """The accuracies after the recalibration, a line for each method."""
    lines = []
    for name in FLAGS.methods:
        own = [row for row in rows if row["method"] == name]
        seconds = statistics.median([row["seconds"] for row in own])
        each = [cells([row for row in own if row["sparsity"] == s]) for s in sparsities]
        lines.append([name, *each, f"{seconds:.1f}"])
    title = f"ResNet-20 on CIFAR-10 (JPEG q75), pruned at once: test accuracy, dense {dense:.2f} %"
    footer = (
        f"{FLAGS.samples} calibration images; batch normalisation re-estimated; no retraining\n"
        "uniform, erk: the allocation; all others class-blind, but Wanda and SparseGPT uniform\n"
        f"LS: least squares; block, full: {FLAGS.few} images, in {STEPS} parts\n"
        "s: seconds to prune, median over sparsities"
    )
    if len(FLAGS.seeds) > 1:
        footer += f"\n{len(FLAGS.seeds)} seeds: mean (standard deviation)"
    return tables.render(title, ["method", *(f"{s:.0%}" for s in sparsities), "s"], lines, footer)


def main(_: list[str]) -> None:
    """Measures what is not in the file yet, and prints a table."""
    images = resnet20.images(FLAGS.data_dir)
    test = resnet20.normalised(images["test"][0]), images["test"][1]

    def tuned() -> keras.Model:
        model = resnet20.load(FLAGS.data_dir)
        return resnet20.fine_tune(model, images["train"], FLAGS.epochs)

    path = pathlib.Path(FLAGS.cache, f"resnet20-{FLAGS.epochs}.keras")

    def load() -> keras.Model:
        return resnet20.cached(path, tuned) if FLAGS.epochs else resnet20.load(FLAGS.data_dir)

    dense = accuracy(load(), test)
    file = pathlib.Path(FLAGS.json) if FLAGS.json else None
    known: list[Row] = json.loads(file.read_text())["rows"] if file and file.exists() else []
    rows, sparsities = [], [float(each) for each in FLAGS.sparsities]
    for seed in map(int, FLAGS.seeds):
        raw, y = calibration(images["train"], FLAGS.samples, seed)
        x, batches = resnet20.normalised(raw), shifted(raw, seed)
        for name in FLAGS.methods:
            arguments = methods(x, y, FLAGS.few, seed)[name]
            for sparsity in sparsities:
                key = {
                    "method": name,
                    "sparsity": sparsity,
                    "seed": seed,
                    "samples": FLAGS.few if name in OF_FEW else FLAGS.samples,
                    "epochs": FLAGS.epochs,
                }
                row = next((each for each in known if key.items() <= each.items()), None)
                if row is None:
                    row = {**key, "dense": dense}
                    row |= measure(load, arguments, sparsity, batches, test)
                    known.append(row)
                    measuring.save(FLAGS.json, {"rows": known})
                rows.append(row)
    print(table(rows, dense, sparsities))


if __name__ == "__main__":
    app.run(main)
