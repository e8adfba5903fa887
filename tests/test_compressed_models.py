"""Compressed files of models with parts of their own, and files that would be wrong."""

import keras
import numpy as np
import pytest

import kprune
from kprune.export._compressed import coding

layers = keras.layers


class OwnLoss(keras.losses.Loss):
    """A mean square, registered nowhere."""

    def call(self, y, predicted):
        return keras.ops.mean((y - predicted) ** 2, -1)


def own_loss(y, predicted):
    return keras.ops.mean((y - predicted) ** 2, -1)


class OwnMetric(keras.metrics.MeanAbsoluteError):
    pass


class OwnSGD(keras.optimizers.SGD):
    pass


class OwnL2(keras.regularizers.L2):
    pass


class OwnDense(layers.Dense):
    pass


def own_activation(x):
    return keras.ops.tanh(x)


OWN = {each.__name__: each for each in (OwnLoss, own_loss, OwnMetric, OwnSGD, OwnL2, OwnDense)}
OWN["own_activation"] = own_activation


def network(layer, *arguments, **compiled):
    inner = keras.Sequential([keras.Input((4,)), layer], name="inner")
    model = keras.Sequential([keras.Input((4,)), inner, layers.Dense(2)])
    model.compile(*arguments, **compiled)
    return model


CASES = {
    "loss": lambda: network(layers.Dense(3), "adam", OwnLoss()),
    "function": lambda: network(layers.Dense(3), "adam", own_loss),
    "metric": lambda: network(layers.Dense(3), "adam", "mse", metrics=[OwnMetric()]),
    "optimizer": lambda: network(layers.Dense(3), OwnSGD(0.5), "mse"),
    "regularizer": lambda: network(layers.Dense(3, kernel_regularizer=OwnL2(0.1)), "adam", "mse"),
    "activation": lambda: network(layers.Dense(3, activation=own_activation), "adam", "mse"),
    "layer": lambda: network(OwnDense(3), "adam", "mse"),
}


@pytest.mark.parametrize("case", CASES)
def test_own_parts_by_name(case, tmp_path):
    model = CASES[case]()
    x, y = np.ones((3, 4), "float32"), np.zeros((3, 2), "float32")
    kprune.export.save_compressed(model, tmp_path / "own.kprune")
    again = kprune.export.load_compressed(tmp_path / "own.kprune", custom_objects=OWN)
    np.testing.assert_array_equal(again(x), model(x))
    assert type(again.optimizer) is type(model.optimizer)
    assert again.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    with pytest.raises(ValueError, match=r"custom_objects=\{\.\.\.\}"):
        kprune.export.load_compressed(tmp_path / "own.kprune")
    if case in ("loss", "function", "metric", "optimizer"):
        plain = kprune.export.load_compressed(tmp_path / "own.kprune", compile=False)
        np.testing.assert_array_equal(plain(x), model(x))


@pytest.mark.parametrize("broken", ["value", "bytes"])
def test_a_wrong_file_is_not_written(broken, tmp_path, monkeypatch):
    """An encoder with a defect: what was there stays, and the model too."""
    encode = coding.encode

    def wrong(array):
        if broken == "value":
            changed = np.array(array)
            changed.reshape(-1)[:1] += 1
            return encode(changed)
        encoded = encode(array)
        object.__setattr__(encoded, "content", encoded.content[:-1])
        return encoded

    monkeypatch.setattr(coding, "encode", wrong)
    (tmp_path / "old.kprune").write_bytes(b"old")
    model = network(layers.Dense(3), "adam", "mse")
    kprune.prune(model, 0.5)
    for name in ("old.kprune", "new.kprune"):
        with pytest.raises(kprune.export.ExportError, match="was not written"):
            kprune.export.save_compressed(model, tmp_path / name)
    assert (tmp_path / "old.kprune").read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["old.kprune"]
    assert kprune.report(model).sparsity == pytest.approx(0.5, abs=0.05)
