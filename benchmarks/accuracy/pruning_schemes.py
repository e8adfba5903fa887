"""Compares three allocations of zeros to the classes of weights of a translator: BLEU, perplexity.

    python -m benchmarks.accuracy.pruning_schemes --data_dir=DIR --json=FILE --figure=PNG

One translator, English to German, is trained on the short pairs of Multi30k (without --data_dir: on
numbers in words). From it, each scheme of See, Luong and Manning prunes to each sparsity at once,
by magnitude, and the pruned model is evaluated before and after retraining at a smaller rate
that is halved after each epoch. The dense model is retrained in the same way for comparison. Rows
that are in --json are not computed again. The defaults are small
enough for one core; a larger translator: --width=512 --layers=2 --vocabulary=8000 --length=30.
"""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from absl import app, flags

import kprune
from benchmarks.parts import results
from benchmarks.parts.figures import scheme_curves
from data import bilingual
from kprune._support import tables
from networks import seq2seq
from options.flag_values import change_by_flags
from reports import frame
from training import translation
from training.stages import Stages

FLAGS = flags.FLAGS
Row = dict[str, Any]

SCHEMES = ("class_blind", "class_uniform", "class_distribution")
SHOWN = 0.8  # the sparsity at which the classes are compared

flags.DEFINE_string("data_dir", None, "folder with Multi30k; default: numbers in words")
flags.DEFINE_string("cache", "savedmodels/pruning_schemes", "directory for the dense translators")
flags.DEFINE_list("sparsities", ["0.2", "0.4", "0.6", "0.8", "0.9"], "fractions of zeros")
flags.DEFINE_integer("seed", 0, "of initial weights, order of pairs, dropout", lower_bound=0)
flags.DEFINE_string("json", None, "file for the results; rows that are in it are not run again")
flags.DEFINE_string("figure", None, "PNG to draw the curves to; none by default")
for field in dataclasses.fields(translation.Recipe):
    define = flags.DEFINE_float if field.type is float else flags.DEFINE_integer
    define(field.name, None, "as in prune_translation.py", lower_bound=0)


class Study:
    """Prunes a dense translator again and again, and keeps the rows of results.

    Args:
        task: what to translate.
        model: trained.
        key: the settings of this study, in each of its rows.
    """

    def __init__(self, task: translation.Task, model: keras.Model, key: Row) -> None:
        self.task, self.model, self.key = task, model, key
        self.judge = translation.Judge(task, model)
        self.rows: list[Row] = []
        self._kept = results.Rows(FLAGS.json)
        self._dense = model.get_weights()

    def measure(self, scheme: str, sparsity: float) -> None:
        """Prunes and evaluates the dense model, before and after retraining, or finds the rows.

        Args:
            scheme: an allocation, or "dense" for no pruning at all.
            sparsity: fraction of zeros.
        """
        keys = [self._key(scheme, sparsity, retrained) for retrained in (False, True)]
        found = [self._kept.find(key) for key in keys]
        if all(found):
            self.rows += found  # type: ignore[arg-type]
            return
        model, recipe = self.model, self.task.recipe
        model.set_weights(self._dense)
        kprune.wrap(model, classes=seq2seq.classes(recipe.layers))
        begin = time.perf_counter()
        if scheme != "dense":
            kprune.prune(model, sparsity, allocation=scheme)
        self._note(keys[0], begin)
        begin = time.perf_counter()
        translation.for_retraining(model, self.task)
        model.fit(self.task.data, epochs=recipe.retrain_epochs, verbose=0, shuffle=False)
        self._note(keys[1], begin)
        kprune.strip(model)

    def _key(self, scheme: str, sparsity: float, retrained: bool) -> Row:
        return {**self.key, "scheme": scheme, "sparsity": sparsity, "retrained": retrained}

    def _note(self, key: Row, begin: float) -> None:
        """Evaluates the model, and writes the row to the file."""
        seconds = time.perf_counter() - begin
        report, classes = kprune.report(self.model), seq2seq.classes(self.task.recipe.layers)
        measured = {
            **dataclasses.asdict(self.judge()),
            "zeros": report.sparsity,
            "classes": {name: report.classes[name] for name in classes},
            "seconds": seconds,
        }
        row = self._kept.add(key, measured)
        self.rows.append(row)
        print(
            f"{key['scheme']} {key['sparsity']:.0%} retrained={key['retrained']}: "
            f"BLEU {row['bleu']:.2f}, perplexity {row['perplexity']:.2f}, {seconds:.0f} s",
            file=sys.stderr,
        )


def qualities(task: translation.Task, rows: Sequence[Row]) -> str:
    """Formats BLEU and perplexity by scheme and sparsity."""
    lines = [
        [
            row["scheme"].replace("_", "-"),
            f"{row['sparsity']:.0%}",
            f"{row['bleu']:.2f}",
            f"{after['bleu']:.2f}",
            f"{row['perplexity']:.2f}",
            f"{after['perplexity']:.2f}",
            f"{row['validation_perplexity']:.2f}",
            f"{after['validation_perplexity']:.2f}",
        ]
        for row, after in zip(rows[::2], rows[1::2], strict=True)
    ]
    recipe, (_, signature) = task.recipe, translation.score(["a"], ["a"])
    footer = (
        f"{task.title}, pairs of at most {recipe.length} tokens a side: "
        f"{len(task.train.source):,} to learn, {len(task.validation.source):,} to validate, "
        f"{len(task.test.source):,} to test\n"
        f"vocabularies {len(task.source):,} and {len(task.target):,}, width {recipe.width}, "
        f"LSTM layers a side: {recipe.layers}; {recipe.epochs} epochs, one seed\n"
        "cut: longer pairs are left out, rarer words are all the same word\n"
        f"retrained: {recipe.retrain_epochs} epochs more, from a rate of {recipe.retrain_rate:g} "
        f"halved after each\nppl: perplexity of a word; val: of the validation pairs\n"
        f"BLEU: greedy, sacrebleu {signature}"
    )
    measures = "BLEU", "ppl", "val ppl"
    columns = ["scheme", "sparsity", *(name for each in measures for name in (each, "retrained"))]
    title = f"English to German, {task.title}, pruned by magnitude: schemes of See et al."
    return tables.render(title, columns, lines, footer)


def shares(rows: Sequence[Row]) -> str:
    """Formats the sparsity of each class at one sparsity of all."""
    chosen: dict[str, Mapping[str, float]] = {
        row["scheme"]: row["classes"]
        for row in rows
        if row["sparsity"] == SHOWN and not row["retrained"]
    }
    lines = [
        [name, *(f"{100 * classes[name]:.1f} %" for classes in chosen.values())]
        for name in next(iter(chosen.values()), {})
    ]
    columns = ["class", *(scheme.replace("_", "-") for scheme in chosen)]
    return tables.render(f"Sparsity of each class at {SHOWN:.0%} of all", columns, lines)


def main(_: list[str]) -> None:
    """Measures what is not in the file yet, and prints two tables."""
    recipe = change_by_flags(translation.RECIPES["multi30k" if FLAGS.data_dir else "numbers"])
    corpus = bilingual.read(FLAGS.data_dir) if FLAGS.data_dir else bilingual.numbers()
    keras.utils.set_random_seed(FLAGS.seed)
    task = translation.Task(corpus, recipe, FLAGS.seed)
    key = {"corpus": corpus.title, "seed": FLAGS.seed, **dataclasses.asdict(recipe)}
    name = "-".join(str(value).replace(" ", "_") for value in key.values())
    model = translation.for_training(task.model(), task)
    stages = Stages(pathlib.Path(FLAGS.cache, name), resume=True, verbose=2)
    stages.fit("dense", model, task.data, recipe.epochs, shuffle=False)

    study = Study(task, model, key)
    study.measure("dense", 0.0)
    for sparsity in map(float, FLAGS.sparsities):
        for scheme in SCHEMES:
            study.measure(scheme, sparsity)
    print(qualities(task, study.rows))
    print(shares(study.rows))
    if FLAGS.figure:
        title = f"LSTM translator, English to German, {task.title}: pruned by magnitude"
        frame.save(scheme_curves.draw(title, study.rows), FLAGS.figure)


if __name__ == "__main__":
    app.run(main)
