"""Three ways to share zeros out among classes of weights, on a translator, BLEU and perplexity.

    python benchmarks/pruning_schemes.py --data_dir=DIR --json=FILE --figure=PNG

One translator, English to German, is trained on the short pairs of Multi30k (without --data_dir: on
numbers in words). From it, each scheme of See, Luong and Manning prunes to each sparsity at once,
by magnitude, and the pruned model is judged as it is, and again after retraining at a smaller rate
that is halved after each epoch. The dense model is retrained in the same way for comparison. With
--json results are appended as they come, and are not computed again. The defaults are small
enough for one core; a larger translator: --width=512 --layers=2 --vocabulary=8000 --length=30.
"""

import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import measuring
import scheme_curves
from absl import app, flags

import kprune
from kprune._support import tables

sys.path.append(str(pathlib.Path(__file__).parent.parent / "scripts"))

import bilingual
import seq2seq
import translation
from stages import Stages

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
    """The dense translator, what was measured already, and where it is noted.

    Args:
        task: what to translate.
        model: trained.
        key: what tells this study's rows from those of others in the same file.
    """

    def __init__(self, task: translation.Task, model: keras.Model, key: Row) -> None:
        self.task, self.model, self.key = task, model, key
        self.judge = translation.Judge(task, model)
        self.rows: list[Row] = []
        file = pathlib.Path(FLAGS.json) if FLAGS.json else None
        self._known = json.loads(file.read_text())["rows"] if file and file.exists() else []
        self._dense = model.get_weights()

    def measure(self, scheme: str, sparsity: float) -> None:
        """Prunes the dense model, judges it, retrains it, judges it again; or reads the rows.

        Args:
            scheme: an allocation, or "dense" for no pruning at all.
            sparsity: fraction of zeros.
        """
        keys = [self._key(scheme, sparsity, retrained) for retrained in (False, True)]
        found = [self._find(key) for key in keys]
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

    def _find(self, key: Row) -> Row | None:
        return next((each for each in self._known if key.items() <= each.items()), None)

    def _note(self, key: Row, begin: float) -> None:
        """Judges the model as it is now, and writes the row down."""
        seconds = time.perf_counter() - begin
        report, classes = kprune.report(self.model), seq2seq.classes(self.task.recipe.layers)
        row = {
            **key,
            **dataclasses.asdict(self.judge()),
            "zeros": report.sparsity,
            "classes": {name: report.classes[name] for name in classes},
            "seconds": seconds,
        }
        self.rows.append(row)
        self._known = [each for each in self._known if not key.items() <= each.items()] + [row]
        measuring.save(FLAGS.json, {"rows": self._known})
        print(
            f"{key['scheme']} {key['sparsity']:.0%} retrained={key['retrained']}: "
            f"BLEU {row['bleu']:.2f}, perplexity {row['perplexity']:.2f}, {seconds:.0f} s",
            file=sys.stderr,
        )


def qualities(task: translation.Task, rows: Sequence[Row]) -> str:
    """Returns BLEU and perplexity by scheme and sparsity as a table."""
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
    """Returns the sparsity of each class at one sparsity of all as a table."""
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
    recipe = translation.RECIPES["multi30k" if FLAGS.data_dir else "numbers"]
    values = {field.name: FLAGS[field.name].value for field in dataclasses.fields(recipe)}
    recipe = dataclasses.replace(recipe, **{k: v for k, v in values.items() if v is not None})
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
        figure = scheme_curves.draw(title, study.rows)
        figure.savefig(FLAGS.figure)


if __name__ == "__main__":
    app.run(main)
