"""Statistics of batch normalisation, re-estimated."""

import keras
import numpy as np
import pytest

import kprune

pytestmark = pytest.mark.quick

layers = keras.layers


def network():
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3)(image)
    x = layers.BatchNormalization(name="first")(x)
    x = layers.Dropout(0.5)(layers.Activation("relu")(x))
    x = layers.BatchNormalization(name="second", momentum=0.3)(layers.Conv2D(3, 2)(x))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


def images(samples=50):
    return np.random.default_rng(0).standard_normal((samples, 6, 6, 2)).astype("float32") * 3 + 1


@pytest.mark.parametrize("batch_size", [50, 50 // 2])
def test_statistics_are_those_of_the_data(batch_size):
    """The first layer's exactly, whatever the batches; the second's with one batch exactly."""
    model, x = network(), images()
    assert kprune.recalibrate_batch_norm(model, x, batch_size) is model
    first, second = (model.get_layer(name) for name in ("first", "second"))
    given = np.asarray(model.layers[1](x), np.float64)
    np.testing.assert_allclose(first.moving_mean, given.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(first.moving_variance, given.var((0, 1, 2)), rtol=1e-4)
    if batch_size == 50:
        # With the statistics in place, inference now gives the second layer what training gave.
        before = keras.Model(model.input, second.input)
        given = np.asarray(before(x, training=False), np.float64)
        np.testing.assert_allclose(second.moving_mean, given.mean((0, 1, 2)), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(second.moving_variance, given.var((0, 1, 2)), rtol=1e-3)
    assert (first.momentum, second.momentum) == (0.99, 0.3)


def test_frozen_layers_are_re_estimated_and_stay_frozen():
    model = network()
    model.trainable = False
    before = np.array(model.get_layer("first").moving_mean)
    kprune.recalibrate_batch_norm(model, images())
    first = model.get_layer("first")
    assert not first.trainable and not np.allclose(first.moving_mean, before)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "recalibrate_batch_norm has no data"),
        ([images(20), images(20) * np.nan], "NaN or infinity"),
        (images()[:, :5], "takes"),
    ],
)
def test_a_failure_changes_nothing(data, message):
    model = network()
    before = [np.array(each) for each in model.variables]
    with pytest.raises(ValueError, match=message):
        kprune.recalibrate_batch_norm(model, data)
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    first = model.get_layer("first")
    assert first.momentum == 0.99 and first.trainable and "call" not in vars(first)


def test_a_model_without_normalisation_stays_as_it_is():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    before = model.get_weights()
    kprune.recalibrate_batch_norm(model, np.ones((4, 3)))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_it_mends_what_pruning_shifts():
    """After a cut of a wrapped model, outputs have the mean and variance they had before it."""
    model, x = network(), images(400)
    kprune.recalibrate_batch_norm(model, x)
    second = keras.Model(model.input, model.get_layer("second").output)
    kprune.prune(model, 0.6)
    shifted = np.asarray(second(x, training=False))
    kprune.recalibrate_batch_norm(model, x, batch_size=400)
    mended = np.asarray(second(x, training=False))
    assert np.abs(shifted.std((0, 1, 2)) - 1).max() > 0.1
    np.testing.assert_allclose(mended.std((0, 1, 2)), 1, atol=0.02)
    np.testing.assert_allclose(mended.mean((0, 1, 2)), 0, atol=0.02)
