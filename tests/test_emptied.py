"""Layers that lose their last weight, and frozen layers: a warning or an error names them."""

import copy
import warnings

import keras
import numpy as np
import pytest
from models import compiled, mlp

import kprune

layers = keras.layers


def make():
    small = keras.initializers.RandomNormal(stddev=0.001, seed=1)
    return keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(64, activation="relu", name="first"),
            layers.Dense(64, activation="relu", kernel_initializer=small, name="tiny"),
            layers.Dense(4, name="last"),
        ]
    )


def test_an_emptied_layer_is_named_with_the_remedy():
    model = make()
    with pytest.warns(UserWarning, match=r'No value is left of .*tiny/kernel.*exclude="tiny"'):
        report = kprune.prune(model, 0.9)
    assert "no value is left of" in str(report) and np.ptp(model(np.eye(16)), axis=0).max() == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kprune.prune(model, 0.91)  # it is not said twice


@pytest.mark.parametrize("remedy", ["exclude", "class_uniform"])
def test_the_remedies_leave_values(remedy):
    model = make()
    if remedy == "exclude":
        kprune.wrap(model, exclude="tiny")
        report = kprune.prune(model, 0.9)
    else:
        report = kprune.prune(model, 0.9, allocation="class_uniform")
    assert all(each.kept for each in report.pruned) and "no value" not in str(report)


def test_it_warns_along_a_schedule(data):
    model = mlp()
    weights = model.get_weights()
    model.set_weights([weights[0], weights[1], weights[2] * 1e-6, weights[3]])
    kprune.wrap(model)
    with pytest.warns(UserWarning, match="No value is left of mlp/logits/kernel"):
        pruning = kprune.callbacks.Pruning(kprune.schedules.Constant(0.6))
        model.fit(*data, verbose=0, callbacks=[pruning])


@pytest.mark.parametrize("allocation", ["class_blind", "class_uniform", "erk"])
def test_a_floor_keeps_the_highest_values_of_each_weight(allocation):
    model = make()
    kernels = [np.abs(each) for each in model.get_weights()[::2]]
    kprune.wrap(model, floor=5)
    for sparsity in (0.9, 0.99):
        report = kprune.prune(model, sparsity, allocation=allocation)
        kept = [each.kept for each in report.pruned]
        left = report.size - round(sparsity * report.size)
        # Where classes do not compete, what one keeps is not taken from another.
        assert min(kept) >= 5 and sum(kept) == left + (allocation == "class_uniform") * max(
            0, 5 - round(256 * (1 - sparsity))
        )
    for kernel, weight in zip(kernels, kprune.masked_weights(model), strict=True):
        highest = np.sort(kernel, axis=None)[-weight.kept() :]
        np.testing.assert_array_equal(np.sort(kernel[weight.alive()]), highest)
    copied = copy.deepcopy(model)
    assert [weight.floor for weight in kprune.masked_weights(copied)] == [5, 5, 5]


def test_a_floor_above_what_is_asked_leaves_fewer_zeros():
    model = kprune.wrap(make(), floor=100)
    kept = [each.kept for each in kprune.prune(model, 0.99).pruned]
    assert kept == [100, 100, 100]
    kept = [each.kept for each in kprune.prune(model, 0.999).pruned]
    assert kept == [100, 100, 100]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"floor": -1}, "floor=-1.*Write floor=1"),
        ({"floor": 0.5}, "floor=0.5.*whole number"),
        ({"floor": 2, "pattern": "2:4"}, 'Write pattern="unstructured"'),
    ],
)
def test_a_wrong_floor(arguments, message):
    with pytest.raises(ValueError, match=message):
        kprune.wrap(make(), **arguments)


@pytest.mark.parametrize("criterion", ["movement", "saliency"])
def test_a_frozen_layer_does_not_compete_by_movement(criterion, data):
    model = mlp()
    model.get_layer("hidden").trainable = False
    compiled(model)
    kprune.wrap(model)
    pruning = kprune.callbacks.Pruning(
        kprune.schedules.Constant(0.5, begin_step=1), criterion=criterion
    )
    with pytest.raises(ValueError, match=r'mlp/hidden/kernel is not trained.*exclude="hidden"'):
        model.fit(*data, verbose=0, epochs=4, callbacks=[pruning])
    kprune.strip(model)
    kprune.wrap(model, exclude="hidden")
    model.fit(*data, verbose=0, epochs=4, callbacks=[pruning])
    assert kprune.report(model).sparsity == 0.5
