"""Single layers with masks of their own: any layer, anywhere, and plain again after strip."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import kprune

layers = keras.layers
GENERATOR = np.random.default_rng(0)

STEPS, IMAGE, VOLUME, CELLS = (5, 6), (6, 6, 4), (4, 4, 4, 2), (3, 6, 6, 2)
LAYERS = {
    "dense": (lambda: layers.Dense(5), [(6,)]),
    "einsum_dense": (lambda: layers.EinsumDense("abc,cd->abd", (None, 7), bias_axes="d"), [STEPS]),
    "embedding": (lambda: layers.Embedding(9, 4, mask_zero=True), [(7,)]),
    "conv1d": (lambda: layers.Conv1D(3, 2), [STEPS]),
    "conv2d": (lambda: layers.Conv2D(4, 2, groups=2), [IMAGE]),
    "conv3d": (lambda: layers.Conv3D(3, 2), [VOLUME]),
    "conv1d_transpose": (lambda: layers.Conv1DTranspose(3, 2), [STEPS]),
    "conv2d_transpose": (lambda: layers.Conv2DTranspose(3, 2), [IMAGE]),
    "conv3d_transpose": (lambda: layers.Conv3DTranspose(3, 2), [VOLUME]),
    "depthwise1d": (lambda: layers.DepthwiseConv1D(2), [STEPS]),
    "depthwise2d": (lambda: layers.DepthwiseConv2D(2), [IMAGE]),
    "separable1d": (lambda: layers.SeparableConv1D(3, 2), [STEPS]),
    "separable2d": (lambda: layers.SeparableConv2D(3, 2), [IMAGE]),
    "lstm": (lambda: layers.LSTM(4), [STEPS]),
    "gru": (lambda: layers.GRU(4, return_sequences=True), [STEPS]),
    "simple_rnn": (lambda: layers.SimpleRNN(4), [STEPS]),
    "stacked_cells": (
        lambda: layers.RNN(layers.StackedRNNCells([layers.LSTMCell(4), layers.GRUCell(3)])),
        [STEPS],
    ),
    "conv_lstm1d": (lambda: layers.ConvLSTM1D(3, 2), [(3, 6, 2)]),
    "conv_lstm2d": (lambda: layers.ConvLSTM2D(3, 2), [CELLS]),
    "bidirectional": (lambda: layers.Bidirectional(layers.LSTM(3)), [STEPS]),
    "time_distributed": (lambda: layers.TimeDistributed(layers.Dense(3)), [STEPS]),
    "attention": (lambda: layers.MultiHeadAttention(2, 4), [STEPS, STEPS]),
    "grouped_attention": (lambda: layers.GroupQueryAttention(4, 2, 2), [STEPS, STEPS]),
    "spectral": (lambda: layers.SpectralNormalization(layers.Dense(4)), [(6,)]),
    "model": (lambda: keras.Sequential([layers.Dense(4), layers.Dense(3)]), [(6,)]),
}


def in_a_graph(make, shapes):
    """A graph in which keras.ops stand before and after a layer; what the layer is called on."""
    inputs = [keras.Input(shape) for shape in shapes]
    layer = make()
    arguments = [keras.ops.abs(each) for each in inputs]
    if isinstance(layer, layers.Embedding):
        arguments = [keras.ops.cast(each, "int32") for each in arguments]
    return layer, inputs, arguments


@pytest.mark.parametrize("name", LAYERS)
def test_any_layer(name):
    """Wrapped before it is built: its calls stay, half of its kernels go, strip leaves it plain."""
    make, shapes = LAYERS[name]
    layer, inputs, arguments = in_a_graph(make, shapes)
    if isinstance(layer, keras.Model):
        layer.build((None, *shapes[0]))
    config = layer.get_config()
    assert kprune.wrap(layer) is layer
    outputs = layer(*arguments)
    model = keras.Model(inputs, keras.ops.tanh(outputs) + 1)
    x = [GENERATOR.uniform(0, 3, size=(2, *shape)).astype("float32") for shape in shapes]
    report = kprune.prune(model, 0.5)
    kernels = [w.variable for w in kprune.masked_weights(model)]
    size = sum(int(np.prod(each.shape)) for each in kernels)
    zeros = sum(int((np.asarray(each) == 0).sum()) for each in kernels)
    assert size and report.size == size and zeros == round(size * 0.5)
    named = [v for v in model.weights if v.name.endswith(("kernel", "embeddings"))]
    assert {id(each) for each in named} == {id(each) for each in kernels}
    before = model.predict(x, verbose=0)

    plain = kprune.strip(model)
    assert plain is model and not kprune.masked_weights(model)
    assert not isinstance(layer, kprune.Pruned) and type(layer) is type(make())
    assert not any("kprune" in key for each in model._flatten_layers() for key in vars(each))
    assert layer.get_config().keys() == config.keys()
    np.testing.assert_array_equal(plain.predict(x, verbose=0), before)


def residual():
    image = keras.Input((8,))
    hidden = kprune.wrap(layers.Dense(8))(image)
    return keras.Model(image, layers.Dense(4)(hidden + image))


class Containers(keras.Model):
    """Wrapped layers in every place that Keras tracks."""

    def __init__(self):
        super().__init__()
        self.by_name = {"a": kprune.wrap(layers.Dense(8))}
        self.pair = (kprune.wrap(layers.Dense(8)),)
        self.nested = [[kprune.wrap(layers.Dense(8))], {"deep": kprune.wrap(layers.Dense(8))}]
        self.flat = [kprune.wrap(layers.Dense(8))]
        self._own = kprune.wrap(layers.Dense(4))

    def call(self, x):
        x = self.pair[0](self.by_name["a"](x))
        x = self.nested[1]["deep"](self.nested[0][0](x))
        return self._own(self.flat[0](x))


def own_mean_square(y, predicted):
    return keras.ops.mean(keras.ops.square(y - predicted))


class OwnMetric(keras.metrics.Mean):
    """A metric that is registered nowhere."""

    def update_state(self, y, predicted, sample_weight=None):
        return super().update_state(keras.ops.abs(y - predicted))


@pytest.mark.parametrize("make", [residual, Containers], ids=["ops", "containers"])
def test_strip_keeps_what_a_model_was_compiled_with(make):
    """A loss, a metric and a model that no config can bring back; the optimizer's state too."""
    x, y = (GENERATOR.normal(size=(32, n)).astype("float32") for n in (8, 4))
    model = make()
    model.compile("adam", own_mean_square, metrics=[OwnMetric()])
    model.fit(x, y, verbose=0)
    kprune.prune(model, 0.5)
    model.fit(x, y, verbose=0)
    optimizer, moments = model.optimizer, [np.array(v) for v in model.optimizer.variables]
    weights = kprune.masked_weights(model)
    zeros = [weight.values() == 0 for weight in weights]
    assert sum(each.sum() for each in zeros) == round(sum(each.size for each in zeros) / 2)

    assert kprune.strip(model) is model and model.optimizer is optimizer
    assert not any(isinstance(each, kprune.Pruned) for each in model._flatten_layers())
    for ours, theirs in zip(model.optimizer.variables, moments, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    model.fit(x, y, verbose=0)  # the zeros are free again
    for weight, zero in zip(weights, zeros, strict=True):
        assert (weight.values()[zero] != 0).any()


def test_a_file_loads_in_plain_keras(tmp_path):
    model = keras.Sequential([keras.Input((16,)), kprune.Pruned(layers.Dense(8)), layers.Dense(2)])
    kprune.prune(model, 0.5)
    model.save(tmp_path / "own.keras")
    program = (
        "import sys\n"
        "sys.modules['kprune'] = None  # not installed\n"
        "import keras\n"
        f"model = keras.saving.load_model(r'{tmp_path / 'own.keras'}')\n"
        "print((model.layers[0].kernel.numpy() == 0).mean())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "0.5\n", done.stderr
    again = kprune.wrap(keras.saving.load_model(tmp_path / "own.keras"), include="dense")
    ours, theirs = (kprune.masked_weights(each)[0].alive() for each in (again, model))
    np.testing.assert_array_equal(ours, theirs)


def test_a_layer_is_marked_once():
    layer = kprune.wrap(layers.Dense(4), pattern="2:4")
    assert isinstance(layer, kprune.Pruned) and kprune.wrap(layer, pattern="2:4") is layer
    with pytest.raises(ValueError, match=r"pattern NM\(n=2, m=4\).*Write kprune.strip\(layer\)"):
        kprune.Pruned(layer)
    with pytest.raises(TypeError, match="expected a model or layer of Keras 3"):
        kprune.Pruned("dense")
    assert kprune.strip(layer) is layer and not isinstance(layer, kprune.Pruned)
    layer.build((None, 8))
    assert not kprune.masked_weights(layer)


def test_layers_built_inside_a_symbolic_call():
    """They have no values when they are built; they get their masks when the model is looked at."""

    class Late(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = kprune.wrap(layers.Dense(6))

        def call(self, x):
            return self.inner(x)

    image = keras.Input((4,))
    model = keras.Model(image, layers.Dense(2)(Late()(image)))
    model.compile("sgd", "mse")
    x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
    model.fit(x, y, verbose=0)
    kprune.prune(model, 0.5)
    model.fit(x, y, verbose=0)
    assert int((np.asarray(model.layers[1].inner.kernel) == 0).sum()) == 12
