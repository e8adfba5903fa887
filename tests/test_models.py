"""Symmetric padding: the same shapes and weights, and convolutions that begin a pixel earlier."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kprune

layers = keras.layers
RANDOM = np.random.default_rng(0)


def images(size, channels=3, batch=2):
    return RANDOM.standard_normal((batch, size, size, channels)).astype("float32")


def functional(convolution, size, channels=3, before=()):
    inputs = keras.Input((size, size, channels))
    outputs = inputs
    for layer in (*before, convolution):
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def expected(layer, x):
    """The convolution with explicit paddings, by TensorFlow's own operations."""
    margins = [[0, 0], *([k // 2] * 2 for k in layer.kernel_size), [0, 0]]
    strides = [1, *layer.strides, 1]
    if isinstance(layer, layers.Conv2D):
        return tf.nn.conv2d(x, layer.kernel, strides, margins) + layer.bias
    if isinstance(layer, layers.DepthwiseConv2D):
        return tf.nn.depthwise_conv2d(x, layer.kernel, strides, margins) + layer.bias
    middle = tf.nn.depthwise_conv2d(x, layer.depthwise_kernel, strides, margins)
    return tf.nn.conv2d(middle, layer.pointwise_kernel, 1, "VALID") + layer.bias


def convolution(kind, kernel=3, **kwargs):
    filters = [] if kind is layers.DepthwiseConv2D else [5]
    given = {"strides": 2, "padding": "same", "bias_initializer": "random_normal", **kwargs}
    return kind(*filters, kernel, name="convolution", **given)


@pytest.mark.parametrize("size", [12, 13])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(
    "kind",
    [layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D],
    ids=lambda k: k.__name__,
)
def test_strided_convolutions_pad_both_sides(kind, kernel, size):
    model = functional(convolution(kind, kernel), size)
    x = images(size)
    before = model(x)
    copy = kprune.export.symmetric_padding(model)
    after = copy(x)
    assert copy.output_shape == model.output_shape
    assert copy.get_layer("convolution").padding == "valid"
    np.testing.assert_allclose(after, expected(model.get_layer("convolution"), x), atol=1e-5)
    if size % 2:  # "same" is symmetric then
        np.testing.assert_allclose(after, before, atol=1e-5)
    else:  # what the model makes of the image a pixel further on, but for the last windows
        shifted = np.pad(x, [(0, 0), (1, 0), (1, 0), (0, 0)])[:, :-1, :-1]
        inside = slice(None), slice(0, size // 2 - 1), slice(0, size // 2 - 1)
        np.testing.assert_allclose(after[inside], model(shifted)[inside], atol=1e-5)
        assert np.abs(after - before).max() > 0.1


@pytest.mark.parametrize("size", [12, None])
@pytest.mark.parametrize(("kernel", "margins"), [(3, (0, 1)), (5, (1, 2))])
def test_lopsided_padding_is_replaced(kernel, margins, size):
    pad = layers.ZeroPadding2D((margins, margins), name="pad")
    model = functional(convolution(layers.Conv2D, kernel, padding="valid"), size, before=[pad])
    copy = kprune.export.symmetric_padding(model)
    x = images(12)
    assert "pad" not in [layer.name for layer in copy.layers]
    assert copy.output_shape == model.output_shape
    np.testing.assert_allclose(copy(x), expected(model.get_layer("convolution"), x), atol=1e-5)


@pytest.mark.parametrize(
    "case",
    {
        "stride 1": (convolution(layers.Conv2D, strides=1), ()),
        "no padding": (convolution(layers.Conv2D, padding="valid"), ()),
        "even kernel": (convolution(layers.Conv2D, 4), ()),
        "1x1": (convolution(layers.Conv2D, 1), ()),
        "symmetric": (convolution(layers.Conv2D, padding="valid"), [layers.ZeroPadding2D(1)]),
        "wide": (
            convolution(layers.Conv2D, padding="valid"),
            [layers.ZeroPadding2D(((2, 4), (2, 4)))],
        ),
    }.items(),
    ids=lambda case: case[0],
)
def test_other_convolutions_stay(case):
    _, (layer, before) = case
    layer, *before = (type(each).from_config(each.get_config()) for each in (layer, *before))
    model = functional(layer, 12, before=before)
    copy = kprune.export.symmetric_padding(model)
    x = images(12)
    assert [each.name for each in copy.layers] == [each.name for each in model.layers]
    np.testing.assert_array_equal(copy(x), model(x))


def test_a_padding_with_two_readers_stays_for_the_other():
    inputs = keras.Input((12, 12, 3))
    padded = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(inputs=inputs)
    strided = convolution(layers.Conv2D, padding="valid")(padded)
    model = keras.Model(inputs, [strided, layers.AveragePooling2D(13)(padded)])
    x = images(12)
    convolved, pooled = kprune.export.symmetric_padding(model)(x)
    np.testing.assert_allclose(convolved, expected(model.get_layer("convolution"), x), atol=1e-5)
    np.testing.assert_allclose(pooled, model(x)[1], atol=1e-6)


def test_a_layer_that_is_called_twice_is_one_layer():
    shared = convolution(layers.Conv2D)
    inputs = [keras.Input((12, 12, 3)), keras.Input((8, 8, 3))]
    model = keras.Model(inputs, [shared(inputs[0]), shared(inputs=inputs[1])])
    copy = kprune.export.symmetric_padding(model)
    xs = images(12), images(8)
    for found, x in zip(copy(xs), xs, strict=True):
        np.testing.assert_allclose(found, expected(shared, x), atol=1e-5)
    assert copy.count_params() == model.count_params()


def network():
    """A submodel of each kind, batch normalisation, an addition and a multiplication."""
    inner = keras.Sequential(
        [keras.Input((6, 6, 8)), convolution(layers.DepthwiseConv2D), layers.ReLU()], name="inner"
    )
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="first")(inputs)
    x = layers.BatchNormalization()(x)
    x = x + layers.Conv2D(8, 1)(x) * 2.0
    branch = keras.Model(x_in := keras.Input((6, 6, 8)), layers.Conv2D(8, 3, 2, "same")(x_in))
    x = layers.Add()([inner(x), branch(x)])
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)), name="net")


def test_the_model_stays_and_the_copy_is_its_own():
    model = network()
    model.compile("sgd", "mse")
    x = images(12)
    names, outputs, held = [each.name for each in model.layers], model(x), model.get_weights()
    copy = kprune.export.symmetric_padding(model)
    assert copy.name == "net" and copy.compiled
    assert copy.output_shape == model.output_shape
    before = {each.path: np.asarray(each) for each in model.weights}
    after = {each.path: np.asarray(each) for each in copy.weights}
    assert sorted(before) == sorted(after)
    for path, values in before.items():
        np.testing.assert_array_equal(values, after[path])
    assert copy.get_layer("inner").get_layer("convolution").padding == "valid"
    copy.fit(x, np.ones((2, 4)), verbose=0)
    assert [each.name for each in model.layers] == names
    np.testing.assert_array_equal(model(x), outputs)
    for ours, theirs in zip(model.get_weights(), held, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_sequential_model_stays_one(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.ZeroPadding2D(((0, 1), (0, 1))),
            convolution(layers.Conv2D, padding="valid"),
            layers.Dropout(0.5),
            layers.Conv2D(4, 3, strides=2, padding="same", name="second"),
        ],
        name="chain",
    )
    copy = kprune.export.symmetric_padding(model)
    assert type(copy) is keras.Sequential and copy.name == "chain"
    x = images(12)
    middle = expected(model.get_layer("convolution"), x)
    np.testing.assert_allclose(copy(x), expected(model.get_layer("second"), middle), atol=1e-5)
    copy.save(tmp_path / "copy.keras")
    loaded = keras.saving.load_model(tmp_path / "copy.keras")
    np.testing.assert_array_equal(loaded(x), copy(x))


def test_masks_are_made_again_from_zeros():
    model = network()
    kprune.wrap(model)
    kprune.prune(model, 0.5)
    with pytest.raises(ValueError, match=r"net is wrapped.*kprune\.strip\(model\)"):
        kprune.export.symmetric_padding(model)
    report = kprune.report(model)
    copy = kprune.export.symmetric_padding(kprune.strip(model))
    kprune.wrap(copy)
    assert kprune.report(copy).sparsity == report.sparsity


def test_a_copy_can_be_wrapped_pruned_and_trained():
    copy = kprune.wrap(kprune.export.symmetric_padding(network()))
    kprune.prune(copy, 0.5)
    copy.compile("sgd", "mse")
    copy.fit(images(12), np.ones((2, 4)), verbose=0)
    weights = kprune.masked_weights(copy)
    zeros = sum(np.sum(np.asarray(each.variable) == 0) for each in weights)
    assert zeros == round(0.5 * sum(each.size for each in weights))


def test_an_application_keeps_its_shapes():
    model = keras.applications.MobileNetV2((64, 64, 3), 0.35, weights=None, include_top=False)
    copy = kprune.export.symmetric_padding(model)
    shapes = {each.name: each.output.shape for each in model.layers}
    paddings = [each for each in copy.layers if isinstance(each, layers.ZeroPadding2D)]
    assert [each.padding for each in paddings] == [((1, 1), (1, 1))] * 5
    for layer in copy.layers:
        if layer not in paddings:
            assert layer.output.shape == shapes[layer.name]
    assert copy.count_params() == model.count_params()


def test_what_cannot_be_made_over():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(TypeError, match=r"Own; expected a Functional or Sequential"):
        kprune.export.symmetric_padding(Own())
    with pytest.raises(TypeError, match="Conv2D; expected"):
        kprune.export.symmetric_padding(layers.Conv2D(1, 3))
    with pytest.raises(ValueError, match=r"is not built.*Write model\.build"):
        kprune.export.symmetric_padding(keras.Sequential([layers.Conv2D(1, 3)]))
