"""Warnings name the user's own line, however deep in kprune and Keras their cause is."""

import re

import keras
import numpy as np
import pytest
from keras import layers
from models import compiled, mlp

import kprune


def empty(data, tmp_path):
    kprune.prune(mlp(), 0.999)


def fit_too_short(data, tmp_path):
    schedule = kprune.schedules.PolynomialDecay(0.0, 0.5, begin_step=0, end_step=10_000)
    model = compiled(kprune.wrap(mlp()))
    model.fit(*data, verbose=0, callbacks=[kprune.callbacks.Pruning(schedule)])


def wrap_without_kernel(data, tmp_path):
    keras.Sequential([keras.Input((4,)), kprune.Pruned(layers.LayerNormalization())])


def load_without_masks(data, tmp_path):
    path = tmp_path / "dense.weights.h5"
    mlp().save_weights(path)
    kprune.wrap(mlp()).load_weights(path)


def save_old_format(data, tmp_path):
    kprune.wrap(mlp()).save(tmp_path / "model.h5")


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (empty, "No value is left"),
        (fit_too_short, "The schedule ends at step 10000"),
        (wrap_without_kernel, "without kprune.Pruned"),
        (load_without_masks, "without masks"),
        (save_old_format, "no masks"),
    ],
)
def test_a_warning_names_the_line_of_the_user(act, match, tmp_path):
    generator = np.random.default_rng(0)
    data = generator.normal(size=(32, 12)).astype("float32"), generator.integers(0, 3, 32)
    with pytest.warns(UserWarning, match=match) as caught:
        act(data, tmp_path)
    assert {each.filename for each in caught if re.search(match, str(each.message))} == {__file__}
