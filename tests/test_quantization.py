"""Zeros outlive every quantization, and a model is fine-tuned as its int8 file computes."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import functional, mlp

import kprune
from kprune.export._tflite.format import constants, loading
from kprune.training import fake_quantization

layers = keras.layers


def pruned(model, sparsity=0.8):
    kprune.wrap(model)
    kprune.prune(model, sparsity, allocation="class_uniform")
    return model


def zeros(model):
    return {each.path: each.numpy() == 0 for each in model.weights if each.path.endswith("kernel")}


def test_rounded_weights_are_those_of_tensorflows_own_operator():
    w = np.random.default_rng(0).standard_normal((6, 5)).astype("float32")
    w[np.abs(w) < 0.7] = 0
    w[:, 2] = 0
    ours = fake_quantization.round_weights(w, (0,)).numpy()
    limit = np.abs(w).max(0)
    theirs = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        w, -limit, limit, num_bits=8, narrow_range=True
    )
    np.testing.assert_allclose(ours, np.where(limit > 0, theirs, 0), atol=1e-6)
    assert ((ours == 0) >= (w == 0)).all()


def test_rounded_activations_are_those_of_tensorflows_own_operator():
    x = np.random.default_rng(0).uniform(-1, 3, (40, 7)).astype("float32")
    ours = fake_quantization.round_activations(x).numpy()
    theirs = tf.quantization.fake_quant_with_min_max_vars(x, x.min(), x.max(), num_bits=8)
    # TensorFlow moves both ends of the range so that zero is a step, ours keeps its width.
    np.testing.assert_allclose(ours, theirs, atol=4 / 255 * 1.01)
    assert len(np.unique(ours)) <= 256
    np.testing.assert_array_equal(
        fake_quantization.round_activations(np.zeros((2, 2), "float32")), 0
    )


def test_masks_stay_on_and_the_model_is_given_back(data):
    model, (x, y) = pruned(mlp()), data
    exact, before = np.asarray(model(x)), zeros(model)
    with fake_quantization.fake_quantized(model):
        rounded = np.asarray(model(x))
    assert 0 < np.abs(rounded - exact).max() < 0.1
    np.testing.assert_array_equal(model(x), exact)
    with fake_quantization.fake_quantized(model):
        model.fit(x, y, epochs=2, verbose=0)
    assert (np.asarray(model(x)) != exact).any()
    for path, mask in zeros(model).items():
        np.testing.assert_array_equal(mask, before[path])


def test_convolutions_of_every_kind():
    model, x = functional()
    x = np.random.default_rng(0).random(x.shape).astype("float32")
    exact = np.asarray(model(x))
    with fake_quantization.fake_quantized(model):
        rounded = np.asarray(model(x))
    assert 0 < np.abs(rounded - exact).max() < 0.2 * np.abs(exact).max()
    np.testing.assert_array_equal(model(x), exact)


def test_a_fit_is_traced_with_rounding_and_without():
    """The loss of a rounded model is that of weights rounded by hand."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, use_bias=False)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).standard_normal((16, 4)).astype("float32")
    y = np.zeros((16, 3), "float32")
    exact = model.evaluate(x, y, verbose=0)
    with fake_quantization.fake_quantized(model):
        rounded = model.evaluate(x, y, verbose=0)
    kernel = model.layers[0].kernel.numpy()
    scale = np.abs(kernel).max(0) / 127
    low, high = x.min(), x.max()
    step = (high - low) / 255
    zero = np.round(-low / step)
    steps = (np.clip(np.round(x / step) + zero, 0, 255) - zero) * step
    by_hand = np.mean((steps @ (np.round(kernel / scale) * scale)) ** 2)
    assert rounded == pytest.approx(by_hand, rel=1e-5)
    assert exact == pytest.approx(np.mean((x @ kernel) ** 2), rel=1e-5) != rounded
    assert model.evaluate(x, y, verbose=0) == exact


@pytest.mark.parametrize(
    "layer", [layers.LSTM(4), layers.MultiHeadAttention(2, 4), layers.SeparableConv1D(4, 2)]
)
def test_layers_of_layers(layer):
    inputs = keras.Input((6, 8))
    outputs = layer(inputs, inputs) if "attention" in layer.name else layer(inputs)
    model = keras.Model(inputs, layers.Flatten()(outputs))
    x = np.random.default_rng(0).standard_normal((4, 6, 8)).astype("float32")
    exact = np.asarray(model(x))
    with fake_quantization.fake_quantized(model):
        rounded = np.asarray(model(x))
    assert 0 < np.abs(rounded - exact).max() < 0.1
    np.testing.assert_array_equal(model(x), exact)


@pytest.mark.parametrize("precision", ["float16", "dynamic", "int8"])
def test_every_zero_is_a_zero_of_the_file(tmp_path, precision):
    model = pruned(
        keras.Sequential([keras.Input((64,)), layers.Dense(96, "relu"), layers.Dense(32)])
    )
    x = np.random.default_rng(0).standard_normal((16, 64)).astype("float32")
    path = tmp_path / "model.tflite"
    kprune.export.to_tflite(model, path, precision, x, timing_seconds=0)
    stored = {each.shape: each.stored for each in constants.find(loading.load(path))}
    for layer in model.layers:
        kernel = layer.kernel.numpy().T
        assert (stored[kernel.shape][kernel == 0] == 0).all()


def test_every_zero_outlives_keras_own_quantization(tmp_path):
    model = pruned(
        keras.Sequential([keras.Input((64,)), layers.Dense(96, "relu"), layers.Dense(32)])
    )
    kprune.strip(model)
    before = zeros(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # layers without weights have no `quantize`
        model.quantize("int8")
    assert {each.dtype for each in model.weights if each.path.endswith("kernel")} == {"int8"}
    for path, mask in zeros(model).items():
        assert mask[before[path]].all()
    report = kprune.export.to_saved_model(model, tmp_path / "saved")
    assert report.max_difference < 1e-5
    with pytest.raises(kprune.export.ExportError, match=r"before model\.quantize"):
        kprune.export.to_tflite(model, tmp_path / "model.tflite")
