"""Masks and scores in files: each goes to its own weight, or an error says why it does not."""

import h5py
import keras
import numpy as np
import pytest
from models import KINDS, mlp

import kprune
from kprune._masking import masked_weights, slot_variables

layers = keras.layers


def three(units=8):
    model = keras.Sequential(
        [keras.Input((units,)), *(layers.Dense(units, name=name) for name in "abc")], name="m"
    )
    model.compile("adam", "mse")
    return model


def kept_by_path(model):
    return {weight.path: weight.alive().copy() for weight in masked_weights.find(model)}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for path, mask in ours.items():
        np.testing.assert_array_equal(mask, theirs[path], err_msg=path)


def number(path):
    """Rewrites a file as kprune 0.2.0 wrote it: masks under numbers, in their order."""
    with h5py.File(path, "r+") as file:
        group = file["kprune_state/masks/vars"]
        for place, key in enumerate(list(group.keys())):
            group.move(key, str(place))
        del file["kprune_state/vars"]


def test_the_order_of_wrapping_does_not_matter(tmp_path):
    model = three()
    kprune.wrap(model, include="c/")
    kprune.wrap(model)
    kprune.prune(model, {"m/a": 0.9, "m/b": 0.5, "m/c": 0.1})
    for suffix in ("weights.h5", "keras"):
        path = tmp_path / f"saved.{suffix}"
        model.save(path) if suffix == "keras" else model.save_weights(path)
        other = kprune.wrap(three())
        other.load_weights(path)
        assert_same(kept_by_path(other), kept_by_path(model))
    x = np.ones((8, 8), "float32")
    other.fit(x, x, verbose=0)
    zeros = [float(np.mean(np.asarray(kernel) == 0)) for kernel in other.get_weights()[::2]]
    np.testing.assert_allclose(zeros, [0.9, 0.5, 0.1], atol=0.5 / 64)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "kerashub"])
def test_every_kind_of_model_under_new_names(kind, tmp_path):
    """Layers that are named by numbers have other names in the second model of a process."""
    model, x = KINDS[kind]()
    kprune.prune(model, 0.6)
    model.save_weights(tmp_path / "saved.weights.h5")
    other, _ = KINDS[kind]()
    kprune.wrap(other)
    other.load_weights(tmp_path / "saved.weights.h5")
    for one, two in zip(masked_weights.find(model), masked_weights.find(other), strict=True):
        np.testing.assert_array_equal(one.alive(), two.alive(), err_msg=one.path)
    np.testing.assert_allclose(other(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_single_wrapped_layer_in_another_model(tmp_path):
    def build():
        inner = kprune.wrap(layers.Dense(8, name="inner"))
        return keras.Sequential([keras.Input((8,)), inner, layers.Dense(3)])

    model = build()
    kprune.prune(model, 0.5)
    model.save_weights(tmp_path / "saved.weights.h5")
    other = build()
    other.load_weights(tmp_path / "saved.weights.h5")
    np.testing.assert_array_equal(
        masked_weights.find(other)[0].alive(), masked_weights.find(model)[0].alive()
    )


def test_weights_of_one_path_keep_their_order(tmp_path):
    class Experts(layers.Layer):
        def build(self, shape):
            self.parts = [
                self.add_weight(shape=(shape[-1], 4), name="kernel", initializer="normal")
                for _ in range(3)
            ]
            self.built = True

        def call(self, x):
            return sum(x @ part for part in self.parts)

    def build():
        return kprune.wrap(keras.Sequential([keras.Input((6,)), Experts()]))

    model = build()
    kprune.prune(model, 0.7)
    model.save_weights(tmp_path / "saved.weights.h5")
    other = build()
    other.load_weights(tmp_path / "saved.weights.h5")
    for one, two in zip(masked_weights.find(model), masked_weights.find(other), strict=True):
        np.testing.assert_array_equal(one.alive(), two.alive())


def test_a_part_goes_to_its_own_weights_and_is_named(tmp_path):
    part = three()
    kprune.wrap(part, include="b/")
    kprune.prune(part, 0.5)
    part.save_weights(tmp_path / "part.weights.h5")
    whole = kprune.wrap(three())
    with pytest.warns(UserWarning, match=r"no masks of layers/dense/kernel, layers/dense_2/kernel"):
        whole.load_weights(tmp_path / "part.weights.h5")
    assert kprune.report(whole).classes == {"m/a": 0.0, "m/b": 0.5, "m/c": 0.0}
    kprune.prune(whole, 0.5)
    whole.save_weights(tmp_path / "whole.weights.h5")
    again = three()
    kprune.wrap(again, include="b/")
    with pytest.warns(UserWarning, match=r"layers/dense/kernel, layers/dense_2/kernel.*lose"):
        again.load_weights(tmp_path / "whole.weights.h5")
    mask = kept_by_path(again)["m/b/kernel"]
    np.testing.assert_array_equal(mask, kept_by_path(whole)["m/b/kernel"])


def test_masks_of_another_model_are_refused(tmp_path):
    small = three(4)
    kprune.prune(small, 0.5)
    small.save_weights(tmp_path / "small.weights.h5")
    model = kprune.wrap(three())
    before = kept_by_path(model)
    with pytest.raises(ValueError, match="could not be loaded"):
        model.load_weights(tmp_path / "small.weights.h5")
    assert_same(kept_by_path(model), before)
    only_a, only_b = three(), three()
    kprune.wrap(only_a, include="a/")
    kprune.wrap(only_b, include="b/")
    kprune.prune(only_a, 0.5)
    only_a.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match="none of layers/dense_1/kernel"):
        only_b.load_weights(tmp_path / "a.weights.h5")
    assert kprune.report(only_b).sparsity == 0


def test_numbered_files_of_earlier_versions(tmp_path):
    model = three()
    kprune.prune(model, {"m/a": 0.9, "m/b": 0.5, "m/c": 0.1})
    model.save_weights(tmp_path / "old.weights.h5")
    number(tmp_path / "old.weights.h5")
    other = kprune.wrap(three())
    other.load_weights(tmp_path / "old.weights.h5")
    assert_same(kept_by_path(other), kept_by_path(model))
    fewer = three()
    kprune.wrap(fewer, exclude="c/")
    with pytest.raises(ValueError, match="has 3, this model has 2"):
        fewer.load_weights(tmp_path / "old.weights.h5")
    assert kprune.report(fewer).sparsity == 0


@pytest.mark.parametrize("criterion", ["movement", "saliency"])
def test_scores_come_with_the_weights(criterion, tmp_path, data):
    """The model that loads has no slot variables yet: the file says which to make."""
    model = kprune.wrap(mlp())
    with kprune.training.accumulating(model, criterion):
        model.fit(*data, verbose=0)
    model.save_weights(tmp_path / "saved.weights.h5")
    other = kprune.wrap(mlp())
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "saved.weights.h5")
    weights = masked_weights.find(other)
    loaded = slot_variables.values(other, criterion, weights)
    saved = slot_variables.values(model, criterion, masked_weights.find(model))
    for one, two in zip(loaded.values(), saved.values(), strict=True):
        assert two.any()
        np.testing.assert_array_equal(one, two)
    kprune.prune(model, 0.5, criterion)
    kprune.prune(other, 0.5, criterion)
    assert_same(kept_by_path(other), kept_by_path(model))


def test_old_h5_files_say_that_they_hold_no_masks(tmp_path, data):
    model = mlp()
    kprune.prune(model, 0.5)
    with pytest.warns(UserWarning, match="but no masks"):
        model.save(tmp_path / "saved.h5")
    plain = mlp()
    plain.save(tmp_path / "plain.h5")  # no warning
    other = kprune.wrap(mlp())
    with pytest.warns(UserWarning, match="the masks stay as they are"):
        other.load_weights(tmp_path / "saved.h5")
    again = mlp()
    again.load_weights(tmp_path / "saved.h5")
    kprune.wrap(again)  # the line of the warning
    assert_same(kept_by_path(again), kept_by_path(model))
