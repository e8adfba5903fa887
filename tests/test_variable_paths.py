"""One weight has one name: Keras's path, in every report, in every precision."""

import re

import keras
import numpy as np
import pytest

import kprune

layers = keras.layers


def images():
    """Kernels of every layout, batch normalisation folded into one, and two equal kernels."""
    image = keras.Input((8, 8, 4))
    x = layers.Conv2D(8, 3, use_bias=False, name="stem")(image)
    x = layers.ReLU()(layers.BatchNormalization(gamma_initializer="random_normal")(x))
    x = layers.Conv2DTranspose(8, 2, name="up")(layers.DepthwiseConv2D(3, name="deep")(x))
    x = layers.Flatten()(layers.SeparableConv2D(8, 2, name="apart")(x))
    inner = keras.Sequential([layers.Dense(16, name="dense"), layers.Dense(16, name="same")])
    return keras.Model(image, layers.Dense(16, name="dense")(inner(x)), name="net")


def words():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.LSTM(8, name="lstm")(layers.Embedding(20, 8, name="words")(tokens))
    return keras.Model(tokens, layers.Dense(5)(x), name="text")


def kernels(model):
    return {v.path for v in model.weights if len(v.shape) > 1}


@pytest.mark.parametrize("precision", [None, "float16", "dynamic", "int8"])
def test_to_tflite_names_each_kernel_once(precision, tmp_path):
    model = images()
    data = np.random.default_rng(0).random((4, 8, 8, 4), np.float32)
    path = tmp_path / "net.tflite"
    report = kprune.export.to_tflite(
        model, path, precision, data if precision == "int8" else None, timing_seconds=0
    )
    named = [each.name for each in report.tensors if each.name in kernels(model)]
    assert sorted(named) == sorted(kernels(model))


def test_check_and_compressed_files_give_names_that_wrap_takes(tmp_path):
    model = words()
    compressed = kprune.export.save_compressed(model, tmp_path / "text.kprune")
    assert {each.name for each in compressed.tensors} == {v.path for v in model.weights}
    wide = keras.Sequential(
        [keras.Input((64,)), layers.Dense(64, name="a"), layers.Dense(64, name="b")], name="wide"
    )
    names = [weight.name for weight in kprune.export.check(wide).weights]
    assert sorted(names) == ["wide/a/kernel", "wide/b/kernel"]
    kprune.wrap(wide, include=re.escape(names[0]))
    assert [weight.path for weight in kprune.masked_weights(wide)] == [names[0]]
