"""Compares large sparse with small dense LSTM language models of equally many parameters.

    python -m benchmarks.accuracy.large_sparse --data_dir=DIR --json=FILE --figure=PNG

Trains two-layer LSTM language models of several widths, dense; and wider ones, pruned while they
train until they have exactly as many parameters as a narrower one, embeddings, biases and all.
Every model starts from its own random weights and reads the training text equally often, with the
same optimizer, learning rates and batches; the pruned ones get no epoch more. Training draws a
sample of the words for each update's softmax; perplexities are over all words and all tokens.
Rows that are in --json are not computed again; a training that was stopped goes on from its last
whole epoch.

Zhu and Gupta, To prune, or not to prune, 2017.
"""

import functools
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from absl import app, flags

import kprune
from benchmarks.parts import results
from benchmarks.parts.figures import size_curves
from benchmarks.parts.networks import equal_sizes
from data import corpus
from kprune._support import tables
from networks import lstm_language_model as language_model
from reports import frame
from training import stages

FLAGS = flags.FLAGS
Row = dict[str, Any]

flags.DEFINE_string("data_dir", None, "folder with Penn Treebank; default: a small bundled text")
flags.DEFINE_string("cache", "savedmodels/large_sparse", "directory for trained models")
flags.DEFINE_list("widths", ["16", "32", "64"], "of embeddings and LSTMs, narrowest first")
flags.DEFINE_integer("epochs", 2, "of every model", lower_bound=1)
flags.DEFINE_integer("streams", 32, "places of the text that are read at a time", lower_bound=1)
flags.DEFINE_integer("steps", 35, "words through which is propagated back", lower_bound=1)
flags.DEFINE_float("learning_rate", 0.1, "Adagrad's at the start; it falls to 0 along a cosine")
flags.DEFINE_float("dropout", 0.0, "rate around each LSTM")
flags.DEFINE_integer("sampled_words", 1024, "drawn for each update's softmax; 0 takes all")
flags.DEFINE_enum(
    "allocation", "class_blind", list(kprune.allocations.MEMBERS), "of the zeros to the weights"
)
flags.DEFINE_integer("seed", 0, "of initial weights, sampled words, dropout")
flags.DEFINE_string("json", None, "file for the results; rows that are in it are not run again")
flags.DEFINE_string("figure", None, "PNG to draw; none by default")

SETTINGS = ["epochs", "streams", "steps", "learning_rate", "dropout", "sampled_words"]
SETTINGS += ["allocation", "seed"]  # what else a row depends on
BEGIN, END, FREQUENCY = 0.1, 0.7, 0.02  # of the training: the ramp, the cuts in it


def pairs(widths: Sequence[int]) -> list[tuple[int, int]]:
    """Returns (width, width of the dense model whose size it is pruned to), in order of use.

    The dense ones come first, then the widest pruned, then the others.
    """
    dense = [(width, width) for width in widths]
    return dense + [(wide, each) for wide in widths[::-1] for each in widths if each < wide]


def measure(text: corpus.Corpus, width: int, size_of: int) -> Row:
    """Trains a model, pruned to the size of a dense one of width `size_of`, and evaluates it."""
    keras.utils.set_random_seed(FLAGS.seed)
    vocabulary, streams = len(text.vocabulary), FLAGS.streams
    model = language_model.build(vocabulary, width, dropout=FLAGS.dropout, streams=streams)
    language_model.initialize_bias(model, text.train)
    objective = language_model.objective(model, FLAGS.sampled_words)
    callbacks: list[keras.callbacks.Callback] = []
    if size_of < width:
        kprune.wrap(objective, classes="weight")
        target = equal_sizes.parameters(vocabulary, size_of)
        sparsity = equal_sizes.sparsity(objective, target)
        ramp = kprune.schedules.PolynomialDecay(0.0, sparsity, BEGIN, END, 3, FREQUENCY)
        callbacks = [kprune.callbacks.Pruning(ramp, allocation=FLAGS.allocation)]
    train, valid, test = (
        corpus.windows(each, text.end, streams, FLAGS.steps)
        for each in (text.train, text.valid, text.test)
    )
    settings = "-".join(str(FLAGS[each].value) for each in SETTINGS)
    directory = pathlib.Path(FLAGS.cache) / f"{len(text.train)}-{settings}"
    kept = stages.Stages(directory, resume=FLAGS.json is not None)
    name = f"{width}" if size_of == width else f"{width} as {size_of}"
    start = time.perf_counter()
    rates = FLAGS.epochs, FLAGS.learning_rate
    language_model.fit(kept, name, objective, train, *rates, callbacks)
    seconds = time.perf_counter() - start
    row: Row = {"seconds": seconds, "parameters": model.count_params(), "zeros": 0, "classes": {}}
    if callbacks:
        report = kprune.report(objective)
        row |= {"zeros": report.size - report.kept, "classes": report.classes}
        kprune.strip(objective)
    row["left"] = row["parameters"] - row["zeros"]
    row["valid"] = language_model.perplexity(model, valid)
    row["test"] = language_model.perplexity(model, test)
    return row


def table(title: str, rows: Sequence[Row], footer: str) -> str:
    """Formats a line for each model, the smallest first, the dense one before the pruned ones."""
    lines = [
        [
            str(row["width"]),
            "dense" if row["width"] == row["size_of"] else "pruned",
            f"{row['left']:,}",
            f"{row['zeros'] / row['parameters']:.1%}",
            f"{row['valid']:.1f}",
            f"{row['test']:.1f}",
            f"{row['seconds']:.0f}",
        ]
        for row in sorted(rows, key=lambda row: (row["left"], row["width"]))
    ]
    columns = ["width", "", "parameters not 0", "zeros", "valid", "test", "s"]
    return tables.render(title, columns, lines, footer)


def main(_: list[str]) -> None:
    """Measures what is not in the file yet, and prints a table."""
    tf.get_logger().setLevel("ERROR")  # it warns of retracing for each new trace
    text = corpus.load(FLAGS.data_dir)
    kept, rows = results.Rows(FLAGS.json), []
    for width, size_of in pairs(sorted(map(int, FLAGS.widths))):
        key = {"text": text.title, "width": width, "size_of": size_of}
        key |= {name: FLAGS[name].value for name in SETTINGS}
        rows.append(kept.measure_once(key, functools.partial(measure, text, width, size_of)))
    title = f"{text.title}: perplexity of LSTM language models, {FLAGS.epochs} epochs each"
    sampled = f"{FLAGS.sampled_words or len(text.vocabulary):,}"
    footer = (
        f"{len(text.train):,} / {len(text.valid):,} / {len(text.test):,} tokens, "
        f"{len(text.vocabulary):,} words, {sampled} of them in an update's softmax\n"
        f"pruned from {BEGIN:.0%} to {END:.0%} of the training, magnitude, {FLAGS.allocation}"
    )
    print(table(title, rows, footer))
    if FLAGS.figure:
        frame.save(size_curves.draw(title, rows), FLAGS.figure)


if __name__ == "__main__":
    app.run(main)
