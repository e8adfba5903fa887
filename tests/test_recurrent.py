"""Recurrent models of every kind: kernels and recurrent kernels are classes of their own."""

import keras
import numpy as np
import pairwise
import pytest
from models import compiled

import kprune
from kprune._masking import masked_weights

layers = keras.layers


def stacked(x):
    return layers.LSTM(5)(layers.GRU(6, return_sequences=True)(x))


def attended(x):
    """An encoder whose every state a decoder looks at."""
    states = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    decoded = layers.LSTM(8, return_sequences=True)(states)
    seen = layers.Attention()([decoded, states])
    return layers.GlobalAveragePooling1D()(layers.Concatenate()([decoded, seen]))


CELLS = layers.StackedRNNCells
KINDS = {  # what makes it, and how many recurrent kernels it has
    "simple": (layers.SimpleRNN(5), 1),
    "gru": (layers.GRU(5), 1),
    "gru, one bias": (layers.GRU(5, reset_after=False), 1),
    "lstm": (layers.LSTM(5), 1),
    "bidirectional": (layers.Bidirectional(layers.LSTM(5)), 2),
    "stacked": (stacked, 2),
    "stacked cells": (lambda x: layers.RNN(CELLS([layers.LSTMCell(5), layers.GRUCell(4)]))(x), 2),
    "convolutional": (lambda x: layers.Flatten()(layers.ConvLSTM1D(3, 2)(x[..., None])), 1),
    "attention": (attended, 3),
}


COMPILED = "lstm", "attention"  # the others train eagerly: a trace takes seconds


QUICK = [("lstm",), ("bidirectional",), ("stacked cells",), ("convolutional",), ("attention",)]


@pytest.mark.parametrize("kind", pairwise.quick_or_slow(QUICK, KINDS))
def test_kernels_and_recurrent_kernels_are_separate_classes(kind, tmp_path):
    make, count = KINDS[kind]
    steps = keras.Input((3, 6))
    model = keras.Model(steps, layers.Dense(3, "softmax")(make(steps)))
    compiled(model, run_eagerly=kind not in COMPILED)
    kprune.wrap(model, classes="weight")
    members = masked_weights.require(model)
    labels = [each.label for each in members]
    assert len(set(labels)) == len(labels) == 2 * count + 1
    recurrent = [each for each in members if each.path.endswith("recurrent_kernel")]
    assert len(recurrent) == count and all(each.location.kind == "recurrent" for each in recurrent)

    x, y = np.random.default_rng(0).standard_normal((32, 3, 6)), np.arange(32) % 3
    schedule = kprune.schedules.PolynomialDecay(0.0, 0.7, end_step=6, frequency=2)
    pruning = kprune.callbacks.Pruning(schedule, allocation="class_uniform")
    history = model.fit(x, y, 16, 4, verbose=0, callbacks=[pruning]).history
    for weight in members:
        assert abs((weight.size - weight.kept()) - 0.7 * weight.size) <= 1
        assert history[f"sparsity/{weight.label}"][-1] == 1 - weight.kept() / weight.size
        np.testing.assert_array_equal(weight.values() != 0, weight.alive())

    # A target for the recurrent kernels alone leaves the others as they are.
    kept = {each.label: each.kept() for each in members}
    kprune.prune(model, {each.label: 0.9 for each in recurrent})
    for weight in members:
        expected = round(0.1 * weight.size) if weight in recurrent else kept[weight.label]
        assert abs(weight.kept() - expected) <= (weight in recurrent)

    before = model.predict(x, verbose=0)
    kprune.strip(model).save(tmp_path / "plain.keras")
    loaded = keras.saving.load_model(tmp_path / "plain.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), before, atol=1e-6)
