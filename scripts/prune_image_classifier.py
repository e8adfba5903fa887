"""Trains an image classifier, prunes it, and writes it in every format.

    python scripts/prune_image_classifier.py
    python scripts/prune_image_classifier.py --dataset=mnist --data_dir=DIR --final_sparsity=0.917

Trains (or loads) a LeNet, prunes it along a schedule, adjusts dropout, fine-tunes and strips it,
writes .keras, SavedModel and TFLite files, reads each of them back, evaluates it on the test
images, and prints one table of sizes and accuracies before and after. It uses the model of the
last epoch: nothing is chosen by its accuracy on the test images.
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import keras
import tensorflow as tf
from absl import app, flags, logging

import kprune
from data.images import Images, accuracy
from options import checks, flag_values, image_choices, image_options
from reports import deployment, figures, frame
from reports.summary import Summary, Trained
from training import image_training
from training.trade_off import Step, TradeOff

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(image_options)  # --help shows them


def main(argv: list[str]) -> None:
    """Trains, prunes, writes, evaluates, reports."""
    checks.flags_alone(argv)
    tf.get_logger().setLevel("ERROR")  # it warns of retracing for each new model
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # otherwise the export logs every file
    clock = Clock()
    keras.utils.set_random_seed(FLAGS.seed)
    images = image_choices.load_images()
    recipe, directory = image_choices.recipe(), image_choices.output_dir()
    schedule = image_choices.schedule(recipe.updates(recipe.prune_epochs, images))

    model = image_choices.load_model(images.shape, images.classes)
    epochs, origin = 0, "loaded"
    if model is None:
        model = image_choices.new_model(images.shape, images.classes)
        epochs, origin = recipe.epochs, "trained"
        image_training.train(model, images, recipe, FLAGS.verbose)
        deployment.save(model, directory / "trained.keras")
    dense = [Trained(origin, epochs, accuracy(model, images.test))]
    epochs += recipe.prune_epochs + recipe.fine_tune_epochs
    clock.lap("training")

    best = deployment.copy(model)
    if FLAGS.dense_extra:
        extra = deployment.copy(model)
        image_training.retrain(extra, images, recipe, FLAGS.verbose)
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
    frame.save(figure, directory / "accuracy.png")
    summary.save(directory / "results.json", flag_values.list_flags(image_options))
    print(summary)
    print(f"written to {directory}: {', '.join(sorted(path.name for path in directory.iterdir()))}")


def prune(
    model: keras.Model,
    images: Images,
    recipe: image_training.Recipe,
    schedule: kprune.schedules.Schedule,
) -> tuple[kprune.Report, list[Step]]:
    """Prunes a model as the flags say, fine-tunes it, and strips it.

    Returns:
        The report of the pruned model, and the accuracy at each step of the schedule.
    """
    kprune.wrap(model, FLAGS.include, FLAGS.exclude, FLAGS.classes, FLAGS.pattern)
    criterion = image_choices.criterion(images.train)
    trade_off = TradeOff(schedule, images)
    callbacks: list[keras.callbacks.Callback] = [
        kprune.callbacks.Pruning(schedule, criterion, FLAGS.allocation),
        trade_off,
    ]
    if FLAGS.adjust_dropout:
        callbacks.insert(1, kprune.callbacks.DropoutRatioAdjustment())
    image_training.retrain(model, images, recipe, FLAGS.verbose, callbacks)
    trade_off.close(model)
    report = kprune.report(model)
    kprune.strip(model)
    return report, trade_off.steps


class Clock:
    """Measures how long each part of the run takes, in seconds."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, what: str) -> None:
        """Ends a part and records its seconds."""
        now = time.monotonic()
        self.laps[what], self._last = now - self._last, now


if __name__ == "__main__":
    app.run(main)
