"""Trains an LSTM language model, prunes it gradually, and compares perplexities.

    python scripts/prune_language_model.py
    python scripts/prune_language_model.py --data_dir=DIR --resume

Trains a stacked LSTM on words by truncated back-propagation, prunes a copy along a schedule while
it is trained on, trains a dense copy for as many epochs at the same learning rates, and prints
the perplexities of all three on the validation and the test text, over every token and every
word. Writes the pruned model as a plain .keras file, which takes texts of any length.

Zhu and Gupta, To prune, or not to prune, 2017.
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
from data import corpus
from kprune._support import tables
from networks import lstm_language_model as language_model
from options import checks, flag_values, language_options
from reports import results
from training.stages import Stages

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(language_options)  # --help shows them
Row = dict[str, Any]


class Study:
    """Trains, prunes and evaluates language models on one text by one recipe.

    Args:
        text: in three parts, for training, validation and testing.
        recipe: size of the model, length and speed of its trainings.
        stages: where the state is kept.
    """

    def __init__(
        self, text: corpus.Corpus, recipe: language_options.Recipe, stages: Stages
    ) -> None:
        self.text, self.recipe, self.stages = text, recipe, stages
        self.train, self.valid, self.test = (
            corpus.windows(part, text.end, recipe.batch_size, FLAGS.steps)
            for part in (text.train, text.valid, text.test)
        )
        self.rows: list[Row] = []

    def build(self, like: keras.Model | None = None) -> keras.Model:
        """Returns a new model, or a copy."""
        recipe = self.recipe
        size = len(self.text.vocabulary), recipe.width, FLAGS.layers, recipe.dropout
        model = language_model.build(*size, streams=recipe.batch_size)
        if like is None:
            language_model.initialize_bias(model, self.text.train)
        else:
            model.set_weights(like.get_weights())
        return model

    def dense(self) -> keras.Model:
        """Trains a dense model."""
        model = self.build()
        objective = language_model.objective(model, self.recipe.sampled_words)
        start, epochs = time.perf_counter(), self.recipe.epochs
        self._fit("dense", objective, epochs, self.recipe.learning_rate)
        self._note("dense", model, epochs, model.count_params(), start)
        return model

    def trained_on(self, dense: keras.Model) -> None:
        """Trains a dense copy for as long as the pruned one: what a fair comparison needs."""
        model, start = self.build(dense), time.perf_counter()
        objective = language_model.objective(model, self.recipe.sampled_words)
        self._retrain("trained on", objective)
        self._note("trained on", model, self._epochs, model.count_params(), start)

    def pruned(self, dense: keras.Model) -> tuple[keras.Model, kprune.Report]:
        """Prunes a copy while it is trained on, or at once if there are no epochs."""
        model, start = self.build(dense), time.perf_counter()
        objective = language_model.objective(model, self.recipe.sampled_words)
        # One matrix, one class: an LSTM's kernel and recurrent kernel compare with each other.
        kprune.wrap(objective, classes="weight")
        if self.recipe.retrain_epochs:
            schedule = language_options.schedule()
            pruning = kprune.callbacks.Pruning(schedule, allocation=FLAGS.allocation)
            self._retrain("pruned", objective, pruning)
        else:
            kprune.prune(objective, FLAGS.sparsity, allocation=FLAGS.allocation)
        report = kprune.report(objective)
        kprune.strip(objective)
        left = model.count_params() - report.size + report.kept
        self._note("pruned", model, self._epochs, left, start)
        return model, report

    @property
    def _epochs(self) -> int:
        return self.recipe.epochs + self.recipe.retrain_epochs

    def _retrain(self, name: str, objective: keras.Model, *callbacks: Any) -> None:
        rate = self.recipe.learning_rate / 2
        self._fit(name, objective, self.recipe.retrain_epochs, rate, *callbacks)

    def _fit(
        self, name: str, objective: keras.Model, epochs: int, rate: float, *callbacks: Any
    ) -> None:
        stage = name.replace(" ", "_")
        language_model.fit(self.stages, stage, objective, self.train, epochs, rate, callbacks)

    def _note(self, name: str, model: keras.Model, epochs: int, left: int, start: float) -> None:
        self.rows.append(
            {
                "model": name,
                "epochs": epochs,
                "parameters": left,
                "valid": language_model.perplexity(model, self.valid),
                "test": language_model.perplexity(model, self.test),
                "seconds": time.perf_counter() - start,
            }
        )


def table(study: Study, report: kprune.Report) -> str:
    """Formats a line for each model, and the sparsity of each matrix."""
    text, size = study.text, study.rows[0]["parameters"]
    lines = [
        [
            row["model"],
            row["epochs"],
            f"{row['parameters']:,}",
            f"{size / row['parameters']:.2f}x",
            f"{row['valid']:.2f}",
            f"{row['test']:.2f}",
            f"{row['seconds']:.0f}",
        ]
        for row in study.rows
    ]
    tokens = " / ".join(f"{len(each):,}" for each in (text.train, text.valid, text.test))
    footer = [
        f"{tokens} tokens to train / validate / test, {len(text.vocabulary):,} words",
        "parameters: those that are not zero, embedding and biases included",
        *(f"zeros of {name}: {sparsity:.1%}" for name, sparsity in report.classes.items()),
    ]
    title = (
        f"{FLAGS.layers} LSTMs of width {study.recipe.width} on {text.title}: perplexity, "
        f"{report.sparsity:.1%} of the weights pruned"
    )
    columns = ["model", "epochs", "parameters", "smaller", "valid", "test", "s"]
    return tables.render(title, columns, lines, "\n".join(footer))


def save(study: Study, report: kprune.Report, path: Path) -> None:
    """Writes the figures, the report, the flags and the versions as JSON."""
    content = {
        "rows": study.rows,
        "report": report.to_dict(),
        "flags": flag_values.list_flags(language_options),
        "command": sys.argv,
        "versions": results.list_versions(),
    }
    results.write_results(path, content)


def main(argv: list[str]) -> None:
    """Trains, prunes, evaluates, writes, reports."""
    checks.flags_alone(argv)
    tf.get_logger().setLevel("ERROR")  # it warns of retracing for each new trace
    keras.utils.set_random_seed(FLAGS.seed)
    try:
        text = corpus.load(FLAGS.data_dir)
    except OSError as error:
        raise app.UsageError(str(error)) from error
    directory, recipe = language_options.output_dir(), language_options.recipe()
    study = Study(text, recipe, Stages(directory / "stages", FLAGS.resume, FLAGS.verbose))
    dense = study.dense()
    if recipe.retrain_epochs:
        study.trained_on(dense)
    model, report = study.pruned(dense)
    language_model.save_plain(model, directory / "pruned.keras")
    save(study, report, directory / "results.json")
    print(table(study, report))
    print(f"written to {directory}: pruned.keras, results.json, stages/")


if __name__ == "__main__":
    app.run(main)
