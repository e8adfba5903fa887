"""What a model costs, against closed forms, sums of ones, and the counts of papers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import kprune

BILINEAR = {
    "dense": ((5, 7), lambda: layers.Dense(4)),
    "einsum": ((5, 6), lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3))),
    "einsum, batched": ((5, 6), lambda: layers.EinsumDense("abc,bcd->abd", (5, 3))),
    "einsum, ellipsis": ((5, 6), lambda: layers.EinsumDense("...c,cd->...d", 3)),
    "conv1d": ((9, 4), lambda: layers.Conv1D(6, 3, dilation_rate=2)),
    "conv2d": ((9, 8, 4), lambda: layers.Conv2D(6, (3, 2), strides=2)),
    "conv2d, groups": ((9, 8, 4), lambda: layers.Conv2D(6, 3, groups=2)),
    "conv3d": ((5, 6, 7, 2), lambda: layers.Conv3D(3, 2)),
    "depthwise": ((9, 8, 4), lambda: layers.DepthwiseConv2D(3, depth_multiplier=2)),
    "depthwise1d": ((9, 4), lambda: layers.DepthwiseConv1D(3)),
    "transposed": ((5, 6, 4), lambda: layers.Conv2DTranspose(3, 3, strides=2)),
    "transposed1d": ((5, 4), lambda: layers.Conv1DTranspose(3, 4, strides=3)),
    "wrapped": ((5, 7), lambda: kprune.Pruned(layers.Dense(4))),
    "normalised": ((9, 4), lambda: layers.SpectralNormalization(layers.Conv1D(6, 3))),
}


@pytest.mark.parametrize("name", BILINEAR)
def test_a_product_of_ones_counts_its_operations(name):
    """Where inputs and kernel are ones, each multiplication adds one to the outputs."""
    shape, make = BILINEAR[name]
    model = keras.Sequential([keras.Input(shape), make()])
    found = kprune.costs(model)
    for variable in model.weights:
        if variable.name == "kernel":
            variable.assign(ops.ones_like(variable))
    layer = model.layers[0]
    plain = layer.layer if name == "normalised" else layer
    assert found.macs == round(float(ops.sum(plain(np.ones((1, *shape), "float32")))))
    assert found.parameters == model.count_params() and not found.uncounted


CLOSED_FORMS = {
    "separable": ((9, 8, 4), lambda: layers.SeparableConv2D(6, 3), 7 * 6 * 4 * (9 + 6)),
    "lstm": ((10, 12), lambda: layers.LSTM(8), 10 * 4 * 8 * (12 + 8)),
    "gru": ((10, 12), lambda: layers.GRU(8, return_sequences=True), 10 * 3 * 8 * (12 + 8)),
    "simple": ((10, 12), lambda: layers.SimpleRNN(8, unroll=True), 10 * 8 * (12 + 8)),
    "cells": (
        (10, 12),
        lambda: layers.RNN([layers.LSTMCell(8), layers.GRUCell(4)]),
        10 * (4 * 8 * (12 + 8) + 3 * 4 * (8 + 4)),
    ),
    "both ways": (
        (10, 12),
        lambda: layers.Bidirectional(layers.LSTM(8)),
        2 * 10 * 4 * 8 * (12 + 8),
    ),
    "convolutional": (
        (3, 9, 8, 2),
        lambda: layers.ConvLSTM2D(5, 3),
        3 * 7 * 6 * 9 * 4 * 5 * (2 + 5),
    ),
    "convolutional, sequences": (
        (3, 9, 2),
        lambda: layers.ConvLSTM1D(5, 3, return_sequences=True),
        3 * 7 * 3 * 4 * 5 * (2 + 5),
    ),
    "steps": ((10, 12), lambda: layers.TimeDistributed(layers.Dense(3)), 10 * 12 * 3),
    "lookup": ((10,), lambda: layers.Embedding(20, 6), 0),
    "no product": ((9, 4), lambda: layers.PReLU(), 0),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms(name):
    shape, make, expected = CLOSED_FORMS[name]
    found = kprune.costs(keras.Sequential([keras.Input(shape), make()]))
    assert found.macs == expected and not found.uncounted


@pytest.mark.parametrize("is_by_keyword", [False, True])
def test_attention(is_by_keyword):
    queries, values = keras.Input((10, 12)), keras.Input((7, 16))
    layer = layers.MultiHeadAttention(2, 6, value_dim=5)
    given = {"query": queries, "value": values}
    outputs = layer(**given) if is_by_keyword else layer(queries, values)
    found = kprune.costs(keras.Model([queries, values], outputs))
    projections = 2 * (10 * 12 * 6 + 7 * 16 * 6 + 7 * 16 * 5 + 10 * 5 * 12)
    assert found.macs == projections + 2 * 10 * 7 * (6 + 5)


def test_attention_of_groups_and_without_projections():
    x, y = keras.Input((10, 12)), keras.Input((7, 12))
    found = kprune.costs(keras.Model([x, y], layers.GroupQueryAttention(6, 4, 2)(x, y)))
    assert found.macs == 10 * 12 * 24 * 2 + 2 * 7 * 12 * 12 + 2 * 10 * 7 * 24
    found = kprune.costs(keras.Model([x, y], layers.Attention()([x, y])))
    assert found.macs == 2 * 10 * 7 * 12


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("MobileNet", 569),  # Howard et al., 2017
        ("MobileNetV2", 300),  # Sandler et al., 2018
        pytest.param("MobileNetV3Large", 219, marks=pytest.mark.slow),  # Howard et al., 2019
        pytest.param("ResNet50", 3.8e3, marks=pytest.mark.slow),  # He et al., 2015
        pytest.param("DenseNet121", 2.87e3, marks=pytest.mark.slow),  # Huang et al., 2017
    ],
)
def test_the_counts_of_papers(name, millions):
    model = getattr(keras.applications, name)(weights=None)
    signature = [keras.InputSpec(shape=(None, 224, 224, 3), dtype="float32")]
    found = kprune.costs(model, input_signature=signature)
    assert found.macs == pytest.approx(1e6 * millions, rel=0.02)


def test_zeros_are_left_out_and_nothing_is_changed():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(6), layers.Dense(4, name="last")])
    kprune.prune(model, {"sequential/last": 0.5})
    before = model.get_weights()
    found = kprune.costs(model)
    assert (found.macs, found.non_zero_macs) == (8 * 6 + 6 * 4, 8 * 6 + 6 * 2)
    assert found.parameters - found.non_zeros == 12 + 6 + 4  # the biases are zero too
    assert found.activation_bytes == 4 * (8 + 6)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert "sequential/last" in str(found) and found.to_dict()["macs"] == found.macs


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_reverse_embedding_is_a_product(is_tied):
    """With as many words as values, so that shapes do not tell the directions apart."""
    words = keras.Input((10,), dtype="int32")
    table = layers.ReversibleEmbedding(8, 8, tie_weights=is_tied)
    model = keras.Model(words, table(table(words), reverse=True))
    assert kprune.costs(model).macs == 10 * 8 * 8
    reverse = table.embeddings if is_tied else table.reverse_embeddings
    reverse.assign(np.eye(8))
    assert kprune.costs(model).non_zero_macs == 10 * 8


def test_states_and_a_fixed_batch():
    """Costs are those of one sample; a stateful layer remembers nothing of the count."""
    layer = layers.LSTM(8, stateful=True)
    model = keras.Sequential([keras.Input((10, 12), batch_size=4), layer])
    model(np.ones((4, 10, 12), "float32"))
    before = [np.array(each) for each in keras.tree.flatten(layer.states)]
    assert kprune.costs(model).macs == 10 * 4 * 8 * (12 + 8)
    for old, new in zip(before, keras.tree.flatten(layer.states), strict=True):
        np.testing.assert_array_equal(old, new)


class Own(layers.Layer):
    """A product that no rule knows."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], 3), name="matrix")

    def call(self, x):
        return ops.matmul(x, self.matrix)


def test_what_no_rule_counts_is_named():
    model = keras.Sequential([keras.Input((8,)), Own(name="own"), layers.Dense(2)], name="net")
    found = kprune.costs(model)
    assert found.uncounted == ("net/own",) and "not counted: the operations of net/own" in str(
        found
    )
    assert found.macs == 3 * 2


class Experts(layers.Layer):
    """Matrices of its own beside a layer, as in a mixture of experts."""

    def __init__(self):
        super().__init__(name="experts")
        self.router = layers.Dense(2)

    def build(self, shape):
        self.router.build(shape)
        self.gate_up = self.add_weight(shape=(2, shape[-1], 3), name="gate_up")

    def call(self, x):
        return ops.einsum("be,ehf,bh->bf", self.router(x), self.gate_up, x)


class OwnAttention(layers.Layer):
    """Attention of no class that Keras has."""

    def call(self, x):
        return ops.matmul(ops.matmul(x, ops.swapaxes(x, 1, 2)), x)


def test_what_is_beside_layers_is_named_too():
    found = kprune.costs(keras.Sequential([keras.Input((8,)), Experts()], name="net"))
    assert (found.macs, found.uncounted) == (2 * 8, ("net/experts",))
    attention = OwnAttention(name="own")
    found = kprune.costs(keras.Sequential([keras.Input((4, 8)), attention], name="net"))
    assert (found.macs, found.uncounted) == (0, ("net/own",))


def test_a_rule_of_ones_own(monkeypatch):
    def counter(layer, call, outputs):
        return {id(layer.matrix): call["x"].shape[0] * 8 * 3}

    monkeypatch.setitem(kprune.budgets.COUNTERS, Own, counter)
    found = kprune.costs(keras.Sequential([keras.Input((8,)), Own()]))
    assert (found.macs, found.uncounted) == (24, ())


def test_a_subclassed_model_with_a_layer_that_is_called_twice():
    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(8)

        def call(self, x):
            return self.dense(self.dense(x))

    model = Twice()
    model(np.ones((1, 8), "float32"))
    assert kprune.costs(model).macs == 2 * 64 and kprune.costs(model).parameters == 72


def test_files_have_the_bytes_that_are_written(tmp_path):
    model = keras.Sequential([keras.Input((64,)), layers.Dense(128, "relu"), layers.Dense(10)])
    kprune.prune(model, 0.9)
    x = np.random.default_rng(0).standard_normal((32, 64)).astype("float32")
    found = kprune.costs(model, ["float32", "int8"], x, batch_size=1, seconds=0.05).files
    for name, quantization in (("float32", None), ("int8", "int8")):
        path = tmp_path / f"{name}.tflite"
        kprune.export.to_tflite(model, path, quantization, x, batch_size=1, timing_seconds=0)
        assert found[name].bytes == path.stat().st_size
        assert 0 < found[name].milliseconds < 1000
