"""Calibration data: every form a user has, the same samples in the same order."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import torch
from models import mlp

import kprune
from kprune.calibration import Calibration

pytestmark = pytest.mark.quick

X = np.arange(7 * 12, dtype="float32").reshape(7, 12)
Y, WEIGHT = np.arange(7), np.linspace(0, 1, 7)


class Sequence(keras.utils.PyDataset):
    """Batches by their number, with no end but its length."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return tuple(each[3 * index : 3 * index + 3] for each in (X, Y, WEIGHT))


FORMS = {
    "arrays": lambda: (X, Y, WEIGHT),
    "tensors": lambda: tuple(map(tf.constant, (X, Y, WEIGHT))),
    "list": lambda: [Sequence()[i] for i in range(3)],
    "dataset": lambda: tf.data.Dataset.from_tensor_slices((X, Y, WEIGHT)).batch(3),
    "py dataset": Sequence,
    "unknown length": lambda: FORMS["dataset"]().filter(lambda *batch: True),
    "tables": lambda: (pd.DataFrame(X), pd.Series(Y), pd.Series(WEIGHT)),
    "torch tensors": lambda: tuple(map(torch.tensor, (X, Y, WEIGHT))),
    "torch loader": lambda: torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*map(torch.tensor, (X, Y, WEIGHT))), batch_size=3
    ),
}


def read(data, **arguments):
    return Calibration(data, mlp(), "test", labelled=True, batch_size=3, **arguments)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_batches(form):
    data = read(FORMS[form]())
    for _ in range(2):  # and again
        batches = list(data.batches("reading"))
        assert [(each.first, each.size) for each in batches] == [(0, 3), (3, 3), (6, 1)]
        for name, expected in (("x", X), ("y", Y), ("sample_weight", WEIGHT)):
            found = np.concatenate([np.asarray(getattr(each, name)) for each in batches])
            np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("form", FORMS)
def test_parts_are_every_fifth_and_the_others(form):
    held = np.arange(7) % 5 == 4
    for part, expected in (("held_out", Y[held]), ("fit", Y[~held])):
        batches = list(read(FORMS[form](), part=part).batches("reading"))
        found = np.concatenate([np.asarray(each.y) for each in batches])
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("form", FORMS)
def test_whatever_takes_data_takes_every_form(form):
    model = mlp(classes=7)
    criteria = kprune.criteria.Saliency, kprune.criteria.Wanda, kprune.criteria.OBD
    for sparsity, criterion in zip((0.25, 0.5, 0.75), criteria, strict=True):
        assert kprune.prune(model, sparsity, criterion(FORMS[form]())).sparsity == sparsity
    kprune.prune(model, 0.8, refit=kprune.refits.LeastSquares(FORMS[form]()))
    kprune.recalibrate_batch_norm(model, FORMS[form]())


def test_large_batches_are_split():
    batches = list(read(FORMS["arrays"](), max_batch_size=2).batches("reading"))
    assert [(each.first, each.size) for each in batches] == [(0, 2), (2, 1), (3, 2), (5, 1), (6, 1)]
    np.testing.assert_array_equal(np.concatenate([each.x for each in batches]), X)
    held = np.concatenate([each.held_out for each in batches])
    np.testing.assert_array_equal(np.flatnonzero(held), [4])


def test_inputs_alone_and_by_name():
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    model = keras.Model({"a": a, "b": b}, keras.layers.Concatenate()([a, b]))
    given = {"a": np.ones((5, 2)), "b": np.zeros((5, 3))}
    (batch,) = Calibration(given, model, "test", labelled=False)
    assert batch.size == 5 and batch.y is None and set(batch.x) == {"a", "b"}
    (batch,) = Calibration(X, mlp(), "test", labelled=False)
    assert batch.size == 7
    with pytest.raises(ValueError, match=r"takes \(None, 2\), \(None, 3\)"):
        list(Calibration(np.ones((5, 2)), model, "test", labelled=False))


def test_a_last_axis_of_one_is_left_to_keras():
    model = keras.Sequential([keras.Input((12, 1)), keras.layers.Flatten()])
    (batch,) = Calibration(X, model, "test", labelled=False)
    assert batch.x.shape == (7, 12)
