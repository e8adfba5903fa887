"""Deep Compression of a LeNet: pruned, shared, coded, with what each stage takes and costs.

    python scripts/deep_compression.py
    python scripts/deep_compression.py --dataset=mnist --data_dir=DIR --model=lenet_5

Trains a dense network, prunes it gradually and trains the survivors on, gives those of each layer
a codebook by k-means, trains its values, and writes the Huffman-coded file; reads that back,
evaluates every stage on the test images, and prints one table. A second table tells what TFLite
files of the same stages take. A run that was stopped goes on with --resume.
"""

import dataclasses
import json
import math
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import checks
import images
import keras
import lenet
import tensorflow as tf
from absl import app, flags, logging
from stages import Stages

import kprune
from kprune._support import files, tables
from kprune.export import compressed
from kprune.training import weight_sharing

FLAGS = flags.FLAGS
flags.DEFINE_enum("dataset", "digits", images.DATASETS, "Which images.")
flags.DEFINE_string("data_dir", None, "Where the IDX files are. Default: Keras's own download.")
flags.DEFINE_enum("model", "lenet_300_100", list(lenet.MODELS), "Which network.")
flags.DEFINE_float("sparsity", None, "Fraction of the weights that is pruned.", 0, 1)
flags.DEFINE_integer("epochs", None, "Of the dense training.", 1)
flags.DEFINE_integer("prune_epochs", None, "Of gradual pruning.", 1)
flags.DEFINE_integer("fine_tune_epochs", None, "After the last cut.", 1)
flags.DEFINE_integer("share_epochs", None, "Of the codebooks' values.", 1)
flags.DEFINE_integer("dense_bits", None, "Of a code in dense layers.", 1, 12)
flags.DEFINE_integer("conv_bits", None, "Of a code in convolutions.", 1, 12)
flags.DEFINE_enum(
    "initialization", "linear", ["linear", "density", "random"], "Where the centroids start."
)
flags.DEFINE_boolean("tflite", True, "Write TFLite files too, and tell their sizes.")
flags.DEFINE_float("validation", None, "Test on this fraction of the training images.", 0, 1)
flags.DEFINE_boolean("resume", False, "Go on from what --output_dir holds.")
flags.DEFINE_string("output_dir", None, "Default: savedmodels/deep_compression/MODEL.")
flags.DEFINE_integer("seed", 0, "Of weights, batches and dropout.")
flags.DEFINE_integer("verbose", 1, "0 is silent, 1 a progress bar, 2 a line an epoch.", 0, 2)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How much, how long, how fast.

    Args:
        sparsity: fraction of the weights that is pruned.
        epochs: of the dense model, its rate falling to zero along a cosine.
        prune_epochs: of gradual pruning, at a constant rate.
        fine_tune_epochs: after the last cut, the rate falling to zero along a cosine.
        share_epochs: of the codebooks' values, the rate falling to zero along a cosine.
        batch_size: images in an update.
        learning_rate: Adam's, at the start of the dense training.
        prune_rate: Adam's, while pruning and at the start of fine-tuning.
        share_rate: Adam's, at the start of training the codebooks' values.
        dropout: rate after each hidden layer.
        l2: factor of the sum of squared weights in the loss.
        dense_bits: of a code in dense layers.
        conv_bits: of a code in convolutions.
    """

    sparsity: float
    epochs: int
    prune_epochs: int
    fine_tune_epochs: int
    share_epochs: int
    batch_size: int = 128
    learning_rate: float = 2e-3
    prune_rate: float = 1e-3
    share_rate: float = 1e-4
    dropout: float = 0.3
    l2: float = 1e-5
    dense_bits: int = 5
    conv_bits: int = 6


DIGITS = Recipe(0.85, 30, 40, 30, 10, batch_size=32, l2=3e-4)
RECIPES = {  # as sparse as the errors allow, and smaller than the paper's files
    "lenet_300_100": Recipe(0.93, 15, 20, 10, 3),
    "lenet_5": Recipe(0.93, 6, 6, 6, 1, dropout=0.5),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A stage of the table.

    Args:
        stage: its name.
        kept: weights and biases that are not zero.
        bytes: that it takes.
        ratio: how many times smaller that is than all parameters in float32.
        error: percent of the test images.
    """

    stage: str
    kept: int
    bytes: int
    ratio: float
    error: float


def main(argv: list[str]) -> None:
    """Trains, prunes, shares, codes, evaluates, reports."""
    checks.flags_alone(argv)
    tf.get_logger().setLevel("ERROR")
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    start = time.monotonic()
    keras.utils.set_random_seed(FLAGS.seed)
    directory = Path(FLAGS.output_dir or Path("savedmodels/deep_compression", FLAGS.model))
    recipe = chosen_recipe()
    try:
        data = images.load(FLAGS.dataset, FLAGS.data_dir)
    except (OSError, ValueError) as error:
        raise app.UsageError(str(error)) from error
    if FLAGS.validation:
        data = images.hold_out(data, FLAGS.validation)
    run = Run(recipe, data, Stages(directory, FLAGS.resume, FLAGS.verbose))
    rows, tflite = run.compress(directory)
    what = "validation" if FLAGS.validation else "test"
    seconds = time.monotonic() - start
    print(table(rows, f"{FLAGS.model} on {FLAGS.dataset}, Deep Compression", what))
    if FLAGS.tflite:
        print(tflite_table(tflite))
    results = {
        "recipe": dataclasses.asdict(recipe),
        "stages": [dataclasses.asdict(each) for each in rows],
        "tflite": tflite,
        "error_on": what,
        "seconds": seconds,
    }
    with files.replacing(directory / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n")
    print(f"{seconds:.0f} s; written to {directory}")


def chosen_recipe() -> Recipe:
    """Returns the recipe of the data set and model, with what the flags change."""
    recipe = DIGITS if FLAGS.dataset == "digits" else RECIPES[FLAGS.model]
    names = [field.name for field in dataclasses.fields(Recipe)]
    given = {name: FLAGS[name].value for name in names if name in FLAGS}
    return dataclasses.replace(
        recipe, **{name: value for name, value in given.items() if value is not None}
    )


class Run:
    """The stages, one after another, on one model.

    Args:
        recipe: how much, how long, how fast.
        data: to train and to test on.
        stages: of the trainings.
    """

    def __init__(self, recipe: Recipe, data: images.Images, stages: Stages) -> None:
        self.recipe, self.data, self.stages = recipe, data, stages
        self.model = lenet.MODELS[FLAGS.model](data.shape, data.classes, recipe.dropout, recipe.l2)

    def compress(self, directory: Path) -> tuple[list[Row], list[dict[str, Any]]]:
        """Returns the table's rows, and the sizes of the TFLite files."""
        model, recipe = self.model, self.recipe
        parameters = model.count_params()
        self.train("dense", recipe.epochs, self.cosine(recipe.learning_rate, recipe.epochs))
        rows = [Row("dense", parameters, 4 * parameters, 1.0, self.error(model))]
        tflite = [self.tflite("dense", directory)]

        kprune.wrap(model)
        ramp = kprune.schedules.PolynomialDecay(0.0, recipe.sparsity, end_step=0.9)
        adjustment = kprune.callbacks.DropoutRatioAdjustment()  # in each stage: it may be resumed
        pruning = [kprune.callbacks.Pruning(ramp), adjustment]
        self.train("pruning", recipe.prune_epochs, recipe.prune_rate, pruning)
        rate = self.cosine(recipe.prune_rate, recipe.fine_tune_epochs)
        self.train("fine_tuning", recipe.fine_tune_epochs, rate, [adjustment])
        print(kprune.report(model))
        rows += self.row("pruned: gaps and float32", directory / "pruned.kprune", parameters)
        tflite.append(self.tflite("pruned", directory))

        print(weight_sharing.share_weights(model, self.bits, FLAGS.initialization, FLAGS.seed))
        rate = self.cosine(recipe.share_rate, recipe.share_epochs)
        training = [kprune.callbacks.WeightSharing(), adjustment]
        self.train("sharing", recipe.share_epochs, rate, training)
        rows += self.row("coded: Huffman", directory / "shared.kprune", parameters, "shared")
        tflite.append(self.tflite("shared", directory))
        return rows, tflite

    def bits(self, weight: Any) -> int:
        """Returns the bits of a weight's codes."""
        convolution = weight.site.kind == "convolution"
        return self.recipe.conv_bits if convolution else self.recipe.dense_bits

    def train(
        self,
        name: str,
        epochs: int,
        learning_rate: Any,
        callbacks: list[keras.callbacks.Callback] | None = None,
    ) -> None:
        """Trains, or reads what an earlier run trained."""
        self.model.compile(
            keras.optimizers.Adam(learning_rate),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        batch = self.recipe.batch_size
        x, y = self.data.train
        self.stages.fit(name, self.model, (x, y), epochs, callbacks or [], batch_size=batch)

    def cosine(self, rate: float, epochs: int) -> keras.optimizers.schedules.CosineDecay:
        """Returns a rate that falls to zero within so many epochs."""
        batches = math.ceil(len(self.data.train[0]) / self.recipe.batch_size)
        return keras.optimizers.schedules.CosineDecay(rate, epochs * batches)

    def error(self, model: keras.Model) -> float:
        """Returns the percentage of test images that are classified wrongly."""
        return 100 * (1 - images.accuracy(model, self.data.test))

    def row(self, stage: str, path: Path, parameters: int, before: str | None = None) -> list[Row]:
        """Writes the model, reads it back, and returns what it takes and how well it does."""
        report = compressed.save_compressed(self.model, path)
        print(report)
        error = self.error(compressed.load_compressed(path))
        kept = sum(each.kept for each in report.tensors if "seed" not in each.name)
        sizes = [(stage, report.bytes)]
        if before:  # the same file with codes of fixed lengths
            coded = sum(each.bytes - each.fixed_bytes for each in report.tensors)
            sizes.insert(0, (f"{before}: codes of fixed lengths", report.bytes - coded))
        return [Row(name, kept, size, 4 * parameters / size, error) for name, size in sizes]

    def tflite(self, stage: str, directory: Path) -> dict[str, Any]:
        """Writes the model for TFLite, and returns the sizes of the file."""
        found: dict[str, Any] = {"stage": stage}
        for quantization in (None, "float16", "dynamic") if FLAGS.tflite else ():
            name = quantization or "float32"
            path = directory / f"{stage}-{name}.tflite"
            report = kprune.export.to_tflite(self.model, path, quantization=quantization)
            found[name], found[f"{name}, gzip"] = report.bytes, report.gzip_bytes
        return found


def table(rows: list[Row], title: str, what: str) -> str:
    """Returns the table of the stages."""
    cells = [
        [
            each.stage,
            f"{each.kept:,}",
            f"{8 * each.bytes / each.kept:.2f}",
            f"{each.bytes:,}",
            f"{each.ratio:.2f}x",
            f"{each.error:.2f} %",
        ]
        for each in rows
    ]
    columns = ["stage", "parameters kept", "bits each", "bytes", "smaller", f"{what} error"]
    return tables.render(title, columns, cells)


def tflite_table(found: list[dict[str, Any]]) -> str:
    """Returns the table of TFLite files."""
    columns = list(found[0])
    rows = [[each["stage"], *(f"{each[name]:,}" for name in columns[1:])] for each in found]
    return tables.render("bytes of the same stages as TFLite files", columns, rows)


if __name__ == "__main__":
    app.run(main)
