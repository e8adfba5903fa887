"""Statistics of batch normalisation, re-estimated."""

import copy

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


def outputs(model, x):
    """What leaves each normalisation, as a matrix [position, channel]."""
    found = [layer.output for layer in model.layers if "norm" in type(layer).__name__.lower()]
    values = keras.Model(model.input, found)(x, training=False)
    return [np.asarray(each, np.float64).reshape(-1, each.shape[-1]) for each in values]


def trained():
    """A network whose moving statistics are not those of the data, nor its scale and shift 1, 0."""
    model, generator = network(), np.random.default_rng(1)
    for name in ("first", "second"):
        layer = model.get_layer(name)
        for variable, low, high in (
            (layer.gamma, 0.5, 2),
            (layer.beta, -1, 1),
            (layer.moving_mean, -1, 1),
            (layer.moving_variance, 0.5, 3),
        ):
            variable.assign(generator.uniform(low, high, variable.shape))
    return model


def fold(model):
    """Folds the moving statistics into scale and shift, as in a network that comes from a phone."""
    for name in ("first", "second"):
        layer = model.get_layer(name)
        mean, variance = np.array(layer.moving_mean), np.array(layer.moving_variance)
        scale = np.array(layer.gamma) / np.sqrt(variance + layer.epsilon)
        layer.beta.assign(np.array(layer.beta) - mean * scale)
        layer.gamma.assign(scale)
        layer.moving_mean.assign(np.zeros_like(mean))
        layer.moving_variance.assign(np.full_like(variance, 1 - layer.epsilon))
    return model


@pytest.mark.parametrize("make", [trained, lambda: fold(trained())], ids=["trained", "folded"])
def test_outputs_have_the_moments_of_the_dense_network(make):
    """Which knows nothing of how the statistics are written, and needs no data as in training."""
    model, x = make(), images(300)
    dense = copy.deepcopy(model)
    kprune.prune(model, 0.5, allocation="class_uniform")
    expected = outputs(dense, x)
    assert any(
        np.abs(ours.mean(0) - theirs.mean(0)).max() > 0.1
        for ours, theirs in zip(outputs(model, x), expected, strict=True)
    )
    kprune.recalibrate_batch_norm(model, x, batch_size=300, dense=dense)
    for ours, theirs in zip(outputs(model, x), expected, strict=True):
        np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=1e-4)
        np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=1e-3)
    for before, after in zip(outputs(dense, x), expected, strict=True):
        np.testing.assert_array_equal(before, after)  # the dense model is as it was


def test_where_statistics_are_those_of_the_data_both_ways_agree():
    x = images(100)
    dense = kprune.recalibrate_batch_norm(network(), x, batch_size=100)
    found = []
    for given in (None, dense):
        model = copy.deepcopy(dense)
        kprune.prune(model, 0.5, allocation="class_uniform")
        kprune.recalibrate_batch_norm(model, x, batch_size=100, dense=given)
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=1e-4)


def test_a_channel_that_is_pruned_away_keeps_its_mean():
    """Its output is a constant, at the mean of the dense network's."""
    model, x = trained(), images()
    dense = copy.deepcopy(model)
    kernel = np.array(model.layers[1].kernel)
    kernel[..., 2] = 0
    model.layers[1].kernel.assign(kernel)
    kprune.recalibrate_batch_norm(model, x, batch_size=50, dense=dense)
    ours, theirs = outputs(model, x)[0][:, 2], outputs(dense, x)[0][:, 2]
    np.testing.assert_allclose(ours, theirs.mean(), atol=1e-4)


def test_positions_that_a_mask_excludes_do_not_count():
    inputs = keras.Input((5, 3))
    masked = layers.Masking(0.0)(inputs)
    model = keras.Model(inputs, layers.BatchNormalization()(masked))
    x = np.random.default_rng(0).standard_normal((40, 5, 3)).astype("float32")
    x[:, 3:] = 0
    kprune.recalibrate_batch_norm(model, x, batch_size=40)
    np.testing.assert_allclose(model.layers[-1].moving_mean, x[:, :3].mean((0, 1)), atol=1e-5)
    np.testing.assert_allclose(model.layers[-1].moving_variance, x[:, :3].var((0, 1)), rtol=1e-4)


def test_any_axis_and_no_scale():
    model = keras.Sequential(
        [keras.Input((3, 8)), layers.BatchNormalization(1, scale=False, center=False)]
    )
    x = np.random.default_rng(0).standard_normal((40, 3, 8)).astype("float32") * 2 + 1
    kprune.recalibrate_batch_norm(model, x, batch_size=40)
    np.testing.assert_allclose(model.layers[0].moving_mean, x.mean((0, 2)), rtol=1e-4)
    np.testing.assert_allclose(model.layers[0].moving_variance, x.var((0, 2)), rtol=1e-4)


def test_folded_statistics_without_the_dense_network_are_told():
    with pytest.warns(UserWarning, match=r"folded into scale and shift.*dense=dense"):
        kprune.recalibrate_batch_norm(fold(trained()), images())


@pytest.mark.parametrize("kind", ["itself", "other layers"])
def test_another_dense_network_is_refused(kind):
    model = trained()
    other = model if kind == "itself" else keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"Before pruning write dense = copy.deepcopy\(model\)"):
        kprune.recalibrate_batch_norm(model, images(), dense=other)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
