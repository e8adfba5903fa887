"""Trains a BERT to classify sentences, prunes its encoder, and compares accuracies.

    python scripts/prune_text_classifier.py --method=nip
    python scripts/prune_text_classifier.py --data_dir=DIR --load=savedmodels/minilm --resume

Fine-tunes a pre-trained encoder (or trains a small one), prunes the weights of its transformer
layers while it is retrained, and prints the accuracy before and after on sentences that it was not
trained on. Writes the pruned classifier as a preset, which KerasHub reads without kprune.

Cheong and Daniel, transformers.zip, 2019; Guo et al., Reweighted Proximal Pruning, 2019; Sanh, Wolf
and Rush, Movement Pruning, 2020.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import keras
import tensorflow as tf
from absl import app, flags

import kprune
from data import sentences
from kprune._support import tables
from networks import encoder
from options import checks, classifier_options, flag_values
from reports import results
from training import encoder_pruning
from training.stages import Stages

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(classifier_options)  # --help shows them


def main(argv: list[str]) -> None:
    """Trains, prunes, evaluates, writes."""
    checks.flags_alone(argv)
    tf.get_logger().setLevel("ERROR")  # it warns of retracing for each new trace
    begin = time.monotonic()
    recipe, directory = classifier_options.recipe(), classifier_options.output_dir()
    stages = Stages(directory / "state", FLAGS.resume, FLAGS.verbose)
    try:
        splits = sentences.load(FLAGS.data_dir)
        train = sentences.select(splits.train, FLAGS.sentences or len(splits.train), FLAGS.seed)
        model = (
            encoder.load(FLAGS.load, FLAGS.seed)
            if FLAGS.load
            else encoder.small(splits.train.texts, seed=FLAGS.seed)
        )
    except (OSError, ValueError) as error:
        raise app.UsageError(str(error)) from error
    preprocessor = model.preprocessor
    data = encoder.batches(preprocessor, train, recipe.batch_size, FLAGS.seed)
    dev, test = (
        encoder.batches(preprocessor, each, recipe.batch_size) for each in (splits.dev, splits.test)
    )

    encoder.compile(model, recipe.learning_rate, recipe.epochs, data)
    stages.fit("dense", model, data, recipe.epochs, shuffle=False)  # shuffled already
    before = {"dev": encoder.accuracy(model, dev), "test": encoder.accuracy(model, test)}

    kprune.wrap(model, include=encoder.PRUNED)
    encoder.compile(model, recipe.retrain_learning_rate, recipe.retrain_epochs, data)
    stages.fit(
        FLAGS.method,
        model,
        data,
        recipe.retrain_epochs,
        encoder_pruning.callbacks(
            FLAGS.method,
            model,
            FLAGS.sparsity,
            recipe.retrain_epochs * int(data.cardinality()),
            FLAGS.strength,
            FLAGS.schedule,
            FLAGS.allocation,
        ),
        shuffle=False,
    )
    after = {"dev": encoder.accuracy(model, dev), "test": encoder.accuracy(model, test)}

    report = kprune.report(model)
    encoder.save(kprune.strip(model), preprocessor, directory / "pruned")
    found = {
        "flags": flag_values.list_flags(classifier_options),
        "recipe": vars(recipe),
        "sparsity": report.sparsity,
        "weights": report.size,
        "kept": report.kept,
        "before": before,
        "after": after,
        "seconds": time.monotonic() - begin,
    }
    write(directory, found)
    print(table(found, len(train)))
    print(f"written to {directory}: pruned, a preset; results.json")


def write(directory: Path, found: dict[str, Any]) -> None:
    """Writes the results, with the versions of Python, Keras and TensorFlow."""
    surroundings = {"python": sys.version.split()[0], "keras": keras.__version__}
    content = {**surroundings, "tensorflow": tf.__version__, **found}
    results.write_results(directory / "results.json", content)


def table(found: dict[str, Any], sentences: int) -> str:
    """Formats the accuracies and the numbers of weights before and after pruning."""
    before, after = found["before"], found["after"]
    rows = [
        [
            f"accuracy, {split}",
            f"{before[split]:.2%}",
            f"{after[split]:.2%}",
            f"{100 * (after[split] - before[split]):+.2f} points",
        ]
        for split in before
    ]
    weights, kept = found["weights"], found["kept"]
    rows.append(
        ["weights, encoder", f"{weights:,}", f"{kept:,}", f"{weights / max(1, kept):.2f}x fewer"]
    )
    what = "the bundled reviews" if FLAGS.data_dir is None else "SST-2"
    return tables.render(
        f"{FLAGS.method} on {what}, {found['sparsity']:.2%} of the encoder pruned",
        ["", "dense", "pruned", ""],
        rows,
        f"learnt from {sentences:,} sentences; embeddings, pooler and classifier are dense and not "
        f"counted; {found['seconds']:.0f} s",
    )


if __name__ == "__main__":
    app.run(main)
