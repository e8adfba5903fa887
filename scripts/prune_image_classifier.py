"""Trains an image classifier, prunes it, and writes it in every format.

    python scripts/prune_image_classifier.py
    python scripts/prune_image_classifier.py --dataset=mnist --data_dir=DIR --final_sparsity=0.917

Trains (or loads) a LeNet, prunes it along a schedule, adjusts dropout, fine-tunes and strips it,
writes .keras, SavedModel and TFLite files, reads each of them back, evaluates it on the test
images, and prints one table of what pruning gained and what it cost. The last epoch counts:
nothing is chosen by its accuracy on the test images.
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import checks
import choices
import deployment
import figures
import keras
import options
import tensorflow as tf
import training
from absl import app, flags, logging
from images import Images, accuracy
from summary import Summary, Trained
from watching import Step, TradeOff

import kprune

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(options)  # --help shows them


def main(argv: list[str]) -> None:
    """Trains, prunes, writes, evaluates, reports."""
    checks.flags_alone(argv)
    tf.get_logger().setLevel("ERROR")  # it takes each new model for a needless retracing
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # the export tells of its every file otherwise
    clock = Clock()
    keras.utils.set_random_seed(FLAGS.seed)
    images = choices.load_images()
    recipe, directory = choices.recipe(), choices.output_dir()
    schedule = choices.schedule(recipe.updates(recipe.prune_epochs, images))

    model = choices.load_model(images.shape, images.classes)
    epochs, what = 0, "loaded"
    if model is None:
        model = choices.new_model(images.shape, images.classes)
        epochs, what = recipe.epochs, "trained"
        training.train(model, images, recipe, FLAGS.verbose)
        deployment.save(model, directory / "trained.keras")
    dense = [Trained(what, epochs, accuracy(model, images.test))]
    epochs += recipe.prune_epochs + recipe.fine_tune_epochs
    clock.lap("training")

    best = deployment.copy(model)
    if FLAGS.dense_extra:
        extra = deployment.copy(model)
        training.retrain(extra, images, recipe, FLAGS.verbose)
        dense.append(Trained("trained on", epochs, accuracy(extra, images.test)))
        if dense[-1].accuracy > dense[0].accuracy:
            best = extra
        clock.lap("training on")

    report, steps = prune(model, images, recipe, schedule)
    pruned = Trained("pruned", epochs, accuracy(model, images.test))
    clock.lap("pruning")

    quantizations = FLAGS.quantization
    dense_files = deployment.write(best, directory, "dense", images, quantizations, False)
    pruned_files = deployment.write(
        model, directory, "pruned", images, quantizations, FLAGS.sparse_tflite
    )
    clock.lap("files")

    title = f"{model.name} on {FLAGS.dataset}, {report.sparsity:.2%} of the weights pruned"
    summary = Summary(
        title=title,
        tested_on="validation" if FLAGS.validation else "test",
        dense=dense,
        pruned=pruned,
        report=report,
        steps=steps,
        dense_files=dense_files,
        pruned_files=pruned_files,
        seconds=clock.laps,
    )
    figure = figures.trade_off(title, steps, summary.best_dense.accuracy, summary.tested_on)
    figures.save(figure, directory / "accuracy.png")
    summary.save(directory / "results.json", flag_values())
    print(summary)
    print(f"written to {directory}: {', '.join(sorted(each.name for each in directory.iterdir()))}")


def prune(
    model: keras.Model, images: Images, recipe: training.Recipe, schedule: kprune.schedules.Schedule
) -> tuple[kprune.Report, list[Step]]:
    """Prunes a model as the flags say, fine-tunes it, and leaves it plain.

    Returns:
        The report of the pruned model, and the accuracy at each step of the schedule.
    """
    kprune.wrap(model, FLAGS.include, FLAGS.exclude, FLAGS.classes, FLAGS.pattern)
    criterion = choices.criterion(images.train)
    trade_off = TradeOff(schedule, images)
    callbacks: list[keras.callbacks.Callback] = [
        kprune.callbacks.Pruning(schedule, criterion, FLAGS.allocation),
        trade_off,
    ]
    if FLAGS.adjust_dropout:
        callbacks.insert(1, kprune.callbacks.DropoutRatioAdjustment())
    training.retrain(model, images, recipe, FLAGS.verbose, callbacks)
    trade_off.close(model)
    report = kprune.report(model)
    kprune.strip(model)
    return report, trade_off.steps


def flag_values() -> dict[str, object]:
    """Returns the program's own flags and their values."""
    return {flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(options)}


class Clock:
    """Tells how long each part of the run took, in seconds."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, what: str) -> None:
        """Ends a part."""
        now = time.monotonic()
        self.laps[what], self._last = now - self._last, now


if __name__ == "__main__":
    app.run(main)
