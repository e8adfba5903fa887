"""Compresses an image classifier as Deep Compression does: prune, share weights, code.

Reference:
    Han, Mao and Dally, Deep Compression, 2016.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import keras

import kprune
from data import images
from kprune.export import compressed
from kprune.training import weight_sharing
from networks import lenet
from training.stages import Stages


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How much is pruned and shared, and how long and how fast the model is trained.

    Args:
        sparsity: fraction of the weights that is pruned.
        epochs: of the dense model, its rate falling to zero along a cosine.
        prune_epochs: of gradual pruning, at a constant rate.
        fine_tune_epochs: after the last mask update, the rate falling to zero along a cosine.
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
    """What a stage takes, and how well the model does after it.

    Args:
        stage: its name.
        kept: weights and biases that are not zero.
        bytes: of the file.
        ratio: how many times smaller that is than all parameters in float32.
        error: percent of the test images.
    """

    stage: str
    kept: int
    bytes: int
    ratio: float
    error: float


class Run:
    """Trains, prunes, shares and codes one model, and measures it after each stage.

    Args:
        network: a name in `lenet.MODELS`.
        recipe: how much, how long, how fast.
        data: to train and to test on.
        stages: of the trainings.
        initialization: where the centroids of the codebooks start.
        seed: of the random centroids.
        tflite: whether to write TFLite files too.
    """

    def __init__(
        self,
        network: str,
        recipe: Recipe,
        data: images.Images,
        stages: Stages,
        initialization: str = "linear",
        seed: int = 0,
        tflite: bool = True,
    ) -> None:
        self.recipe, self.data, self.stages = recipe, data, stages
        self.initialization, self.seed, self.writes_tflite = initialization, seed, tflite
        self.model = lenet.MODELS[network](data.shape, data.classes, recipe.dropout, recipe.l2)

    def compress(self, directory: Path) -> tuple[list[Row], list[dict[str, Any]]]:
        """Runs all stages; returns the rows of the table, and the sizes of the TFLite files."""
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

        print(weight_sharing.share_weights(model, self.bits, self.initialization, self.seed))
        rate = self.cosine(recipe.share_rate, recipe.share_epochs)
        training = [kprune.callbacks.WeightSharing(), adjustment]
        self.train("sharing", recipe.share_epochs, rate, training)
        rows += self.row("coded: Huffman", directory / "shared.kprune", parameters, "shared")
        tflite.append(self.tflite("shared", directory))
        return rows, tflite

    def bits(self, weight: Any) -> int:
        """Returns the bits of a weight's codes."""
        convolution = weight.location.kind == "convolution"
        return self.recipe.conv_bits if convolution else self.recipe.dense_bits

    def train(
        self,
        name: str,
        epochs: int,
        learning_rate: Any,
        callbacks: list[keras.callbacks.Callback] | None = None,
    ) -> None:
        """Trains the model, or reads the weights that an earlier run trained."""
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
        for quantization in (None, "float16", "dynamic") if self.writes_tflite else ():
            name = quantization or "float32"
            path = directory / f"{stage}-{name}.tflite"
            report = kprune.export.to_tflite(self.model, path, quantization=quantization)
            found[name], found[f"{name}, gzip"] = report.bytes, report.gzip_bytes
        return found
