"""Prunes a trained model at once, without training, and compares it with the dense one.

    python scripts/prune_one_shot.py
    python scripts/prune_one_shot.py --model=model.keras --calibration=calibration.npz

Takes any `.keras` file with some calibration data, or trains a LeNet on handwritten digits first;
prunes it by any criterion, refits the remaining weights if asked, matches what leaves batch
normalization to the dense model, prints metrics before and after, and writes a plain `.keras` file.
"""

import copy
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

import kprune
from kprune._support import files, tables
from options import checks, one_shot_options
from options.criteria import build_criterion
from training import examples

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(one_shot_options)  # --help shows them

DEFAULT_OUTPUT = "savedmodels/one_shot/pruned.keras"


def main(argv: list[str]) -> None:
    """Loads or trains, prunes, compares, writes."""
    checks.flags_alone(argv)
    tf.get_logger().setLevel("ERROR")
    keras.utils.set_random_seed(FLAGS.seed)
    try:
        example = load()
        calibration = _first(example.calibration, FLAGS.samples)
        criterion = chosen_criterion(calibration)
        before = judged(example.model, example.evaluation)
        start = time.perf_counter()
        report = prune(example.model, criterion, calibration)
    except (OSError, TypeError, ValueError) as error:
        raise app.UsageError(str(error)) from error
    seconds = time.perf_counter() - start
    after = judged(example.model, example.evaluation)
    model = kprune.strip(example.model)
    output = Path(FLAGS.output or DEFAULT_OUTPUT)
    with files.replacing(output) as temporary:
        model.save(temporary)
    print(report)
    print(comparison(model.name, criterion, before, after, seconds, len(calibration[0])))
    print(f"written to {output}, a plain Keras model")


def load() -> examples.Example:
    """Loads or trains the model of the flags, with its data.

    Raises:
        ValueError: a flag is missing, or a file cannot be read.
    """
    if FLAGS.model is None:
        return examples.trained(
            FLAGS.example, FLAGS.data_dir, FLAGS.network, FLAGS.epochs, FLAGS.verbose
        )
    if FLAGS.calibration is None:
        raise ValueError(
            f"--model={FLAGS.model} came without --calibration; expected samples that the model "
            "takes. Write --calibration=calibration.npz"
        )
    calibration = examples.read(FLAGS.calibration)
    evaluation = examples.read(FLAGS.evaluation) if FLAGS.evaluation else calibration
    return examples.Example(examples.loaded(FLAGS.model), calibration, evaluation)


def chosen_criterion(calibration: examples.Data) -> kprune.criteria.Criterion:
    """Returns the criterion, given the data and the flags that it has parameters for."""
    return build_criterion(
        FLAGS.criterion,
        data=calibration,
        batch_size=FLAGS.batch_size,
        damping=FLAGS.damping if FLAGS.damping == "auto" else float(FLAGS.damping),
        estimator=FLAGS.estimator,
        hessian=FLAGS.hessian,
        recomputations=FLAGS.recomputations,
        seed=FLAGS.seed,
        sequential=FLAGS.sequential,
    )


def prune(
    model: keras.Model, criterion: kprune.criteria.Criterion, calibration: examples.Data
) -> kprune.Report:
    """Prunes a model in place, and gives batch normalization the outputs that it had before."""
    dense = copy.deepcopy(model) if FLAGS.recalibrate_batch_norm else None
    refit = FLAGS.refit and kprune.refits.LeastSquares(
        calibration, damping=getattr(criterion, "damping", "auto"), sequential=FLAGS.sequential
    )
    kprune.wrap(model, FLAGS.include, FLAGS.exclude, pattern=FLAGS.pattern)
    report = kprune.prune(model, FLAGS.sparsity, criterion, FLAGS.allocation, refit)
    if dense is not None:
        kprune.recalibrate_batch_norm(model, calibration, FLAGS.batch_size, dense)
    return report


def judged(model: keras.Model, data: examples.Data) -> dict[str, Any]:
    """Returns the metrics that the model was compiled with, and its outputs.

    Args:
        model: compiled or not.
        data: whole arrays; without labels there are no metrics.
    """
    outputs = keras.tree.flatten(model.predict(data[0], FLAGS.batch_size, verbose=0))
    found: dict[str, Any] = {
        "outputs": np.concatenate([each.reshape(len(each), -1) for each in outputs], 1)
    }
    if model.compiled and len(data) > 1:
        arguments = dict(zip(examples.PARTS, data, strict=False))
        found |= model.evaluate(**arguments, verbose=0, return_dict=True)
    return found


def comparison(
    name: str,
    criterion: kprune.criteria.Criterion,
    before: dict[str, Any],
    after: dict[str, Any],
    seconds: float,
    samples: int,
) -> str:
    """Formats the metrics before and after pruning."""
    rows = [
        [
            metric,
            f"{before[metric]:.4f}",
            f"{after[metric]:.4f}",
            f"{after[metric] - before[metric]:+.4f}",
        ]
        for metric in before
        if metric != "outputs"
    ]
    change = np.linalg.norm(after["outputs"] - before["outputs"])
    relative = change / max(float(np.linalg.norm(before["outputs"])), 1e-30)
    rows.append(["change of the outputs, relative", "", "", f"{relative:.4f}"])
    title = (
        f"{name} pruned at once by {type(criterion).__name__}, {samples} samples, {seconds:.1f} s"
    )
    return tables.render(title, ["", "before", "after", "change"], rows)


def _first(data: examples.Data, samples: int) -> examples.Data:
    return tuple(
        None if part is None else keras.tree.map_structure(lambda each: each[:samples], part)
        for part in data
    )


if __name__ == "__main__":
    app.run(main)
