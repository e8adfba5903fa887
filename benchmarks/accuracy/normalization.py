"""Compares ways to repair batch normalisation after pruning at once, by magnitude.

    python -m benchmarks.accuracy.normalization --seeds=0,1,2

A small convolutional network is trained on scikit-learn's digits, moved by up to one pixel in
training. Then it is pruned in three forms: as it is; with its moving statistics folded into scale
and shift, as in networks that come from a phone, which computes the same; and with statistics that
were first estimated anew on plain images. The images of the repair are plain ones of the training
set.
"""

import copy
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from sklearn.datasets import load_digits

import kprune
from benchmarks.parts import results, spread
from kprune._support import tables

FLAGS = flags.FLAGS
flags.DEFINE_list("seeds", ["0", "1", "2"], "of weights, order and shifts")
flags.DEFINE_list("sparsities", ["0.5", "0.7", "0.8"], "fractions of zeros")
flags.DEFINE_string("json", None, "file for the results; none by default")

TRAIN = 1400
layers = keras.layers
Repair = Callable[[keras.Model, keras.Model, np.ndarray], object]
REPAIRS: dict[str, Repair] = {
    "none": lambda model, dense, x: None,
    "statistics of the data": lambda model, dense, x: kprune.recalibrate_batch_norm(model, x),
    "outputs of the dense network": lambda model, dense, x: kprune.recalibrate_batch_norm(
        model, x, dense=dense
    ),
}


def fold(model: keras.Model, x: np.ndarray) -> keras.Model:
    """Folds the moving statistics into scale and shift, in place."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            scale, shift, mean, variance = map(np.array, layer.get_weights())
            scale = scale / np.sqrt(variance + layer.epsilon)
            ones = np.full_like(variance, 1 - layer.epsilon)
            layer.set_weights([scale, shift - mean * scale, 0 * mean, ones])
    return model


FORMS: dict[str, Callable[[keras.Model, np.ndarray], keras.Model]] = {
    "trained": lambda model, x: model,
    "folded": fold,
    "of plain images": kprune.recalibrate_batch_norm,
}


def main(_: list[str]) -> None:
    """Trains, prunes, repairs and evaluates, and prints a table."""
    tf.get_logger().setLevel("ERROR")
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype("float32") / 16
    sparsities = [float(each) for each in FLAGS.sparsities]
    found: dict[str, list[float]] = {}
    for seed in map(int, FLAGS.seeds):
        trained = train(x[:TRAIN], y[:TRAIN], seed)
        for form, change in FORMS.items():
            dense = change(copy.deepcopy(trained), x[:TRAIN])
            for repair, apply in REPAIRS.items():
                for sparsity in (0.0, *sparsities):
                    model = copy.deepcopy(dense)
                    kprune.prune(model, sparsity)
                    if sparsity:
                        apply(model, dense, x[:TRAIN])
                    score = model.evaluate(x[TRAIN:], y[TRAIN:], 512, 0, return_dict=True)
                    key = f"{form}, {repair}, {sparsity:.0%}"
                    found.setdefault(key, []).append(100 * score["accuracy"])
    rows = [
        [form, repair]
        + [
            spread.format_mean(found[f"{form}, {repair}, {each:.0%}"], 1)
            for each in (0.0, *sparsities)
        ]
        for form in FORMS
        for repair in REPAIRS
    ]
    columns = ["statistics", "repaired to", "dense", *(f"{each:.0%}" for each in sparsities)]
    print(tables.render("accuracy, pruned at once", columns, rows, results.format_surroundings()))
    results.save(FLAGS.json, dict(found))


def train(x: np.ndarray, y: np.ndarray, seed: int) -> keras.Model:
    """Trains on images that are moved."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 1))
    hidden = layers.RandomTranslation(0.125, 0.125, fill_mode="constant")(image)
    for filters in (16, 32, 32):
        hidden = layers.Conv2D(filters, 3, padding="same", use_bias=False)(hidden)
        hidden = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(hidden))
    hidden = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(hidden))
    model = keras.Model(image, layers.Dense(10, "softmax")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, 32, epochs=20, verbose=0)
    return model


if __name__ == "__main__":
    app.run(main)
