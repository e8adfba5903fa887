"""Shared weights: the figure of the paper, and training against a network made of its centroids."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import compiled, mlp
from test_codebooks import CODES, FIGURE
from test_training import LOOPS

import kprune
from kprune._masking import masked_weights
from kprune.callbacks import WeightSharing
from kprune.training import codebooks, weight_sharing

GRADIENT = np.array(  # of figure 3 of Deep Compression
    [
        [-0.03, -0.01, 0.03, 0.02],
        [-0.01, 0.01, -0.02, 0.12],
        [-0.01, 0.02, 0.04, 0.01],
        [-0.07, -0.02, 0.01, -0.02],
    ]
)
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.01),
    "momentum": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, centered=True),
    "adagrad": lambda: keras.optimizers.Adagrad(0.01),
    "lion": lambda: keras.optimizers.Lion(0.001),
    "clipped": lambda: keras.optimizers.Adam(0.01, clipnorm=0.1, global_clipnorm=None),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
    "accumulated": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
}


def shared(optimizer="adam", bits=2, **kwargs):
    """A pruned model of few values."""
    model = compiled(mlp(), optimizer, **kwargs)
    kprune.prune(model, 0.6)
    weight_sharing.share_weights(model, bits)
    return model


def partition(model):
    """Which weights are equal: for each the place of the first that is."""
    return [
        np.unique(each, return_index=True)[1][np.unique(each, return_inverse=True)[1]].tolist()
        for each in values(model)
    ]


def values(model):
    return [np.array(weight.values()) for weight in masked_weights.require(model)]


def test_the_figure_of_the_paper():
    """Weights 10 higher, so that none is zero and pruned: k-means moves with them."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, use_bias=False)])
    model.layers[0].kernel.assign(FIGURE + 10)
    model.compile(
        keras.optimizers.SGD(4.0),  # the loss is a mean over the four rows
        lambda gradient, y: keras.ops.sum(gradient * y, axis=-1),
    )
    kprune.wrap(model)
    weight_sharing.share_weights(model, bits=2)
    np.testing.assert_array_equal(list(weight_sharing.clusters(model).values())[0], CODES)
    with weight_sharing.sharing(model):
        model.train_on_batch(np.eye(4), GRADIENT)
    fine_tuned = np.array([-0.97, -0.04, 1.48, 1.96])
    np.testing.assert_allclose(values(model)[0], 10 + fine_tuned[CODES], atol=1e-5)


@pytest.mark.parametrize("initialization", codebooks.INITIALIZATIONS)
def test_survivors_take_the_nearest_of_few_values_and_zeros_stay(initialization):
    model = compiled(mlp())
    kprune.prune(model, 0.6)
    before = values(model)
    report = weight_sharing.share_weights(model, 3, initialization)
    for old, new, entry in zip(before, values(model), report.weights, strict=True):
        np.testing.assert_array_equal(new == 0, old == 0)
        book = np.unique(new[new != 0])
        assert len(book) == entry.clusters <= 8
        assert entry.kept == np.count_nonzero(old)
        nearest = np.abs(old[old != 0][:, None] - book).min(1)
        np.testing.assert_allclose(np.abs(new - old)[old != 0], nearest, atol=1e-6)
        change = np.linalg.norm(new - old) / np.linalg.norm(old)
        assert entry.error == pytest.approx(change, rel=1e-5)
    assert "mlp/hidden/kernel" in str(report)


def test_bits_may_differ_by_class_or_by_weight():
    model = compiled(mlp())
    kprune.prune(model, 0.5)
    classes = {"mlp/hidden": 3, "mlp/logits": 1}
    assert [e.clusters for e in weight_sharing.share_weights(model, classes).weights] == [8, 2]
    report = weight_sharing.share_weights(model, lambda weight: 2 if "hidden" in weight.path else 1)
    assert [each.clusters for each in report.weights] == [4, 2]


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        (0, "bits=0; expected a whole number, from 1 to 12"),
        (13, "bits=13"),
        ({"mlp/hidden": 3}, "no class 'mlp/log"),
    ],
)
def test_a_call_that_fails_leaves_the_model(bits, message):
    model = kprune.wrap(compiled(mlp()))
    before = values(model)
    with pytest.raises(ValueError, match=message):
        weight_sharing.share_weights(model, bits)
    np.testing.assert_equal(values(model), before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equal_weights_stay_equal_to_the_last_bit(name, data):
    model = shared(OPTIMIZERS[name]())
    before, start = partition(model), values(model)
    with weight_sharing.sharing(model):
        model.fit(*data, batch_size=8, verbose=0)
    assert partition(model) == before
    assert not np.array_equal(values(model)[0], start[0])


@pytest.mark.parametrize("loop", LOOPS)
def test_equal_weights_stay_equal_in_every_loop(loop, data):
    model = shared(**LOOPS[loop])
    before = partition(model)
    history = model.fit(*data, batch_size=8, epochs=4, verbose=0, callbacks=[WeightSharing()])
    assert partition(model) == before
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_training_is_that_of_a_network_made_of_centroids(data):
    """The same network with `w = c[a]` for a kernel: centroids by Adam, with TensorFlow's tape."""
    model = shared(keras.optimizers.Adam(0.01))
    x, y = (tf.constant(each) for each in data)
    codes = list(weight_sharing.clusters(model).values())
    books = [
        keras.Variable([kernel[code == k][0] for k in range(code.max() + 1)])
        for kernel, code in zip(values(model), codes, strict=True)
    ]
    biases = [keras.Variable(layer.bias) for layer in model.layers]
    with weight_sharing.sharing(model):
        model.fit(*data, batch_size=len(x), epochs=5, verbose=0)

    optimizer = keras.optimizers.Adam(0.01)
    for _ in range(5):
        with tf.GradientTape() as tape:
            hidden, logits = (
                tf.where(code < 0, 0.0, tf.gather(book.value, np.maximum(code, 0)))
                for book, code in zip(books, codes, strict=True)
            )
            out = tf.nn.softmax(tf.nn.relu(x @ hidden + biases[0]) @ logits + biases[1])
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, out))
        variables = [*books, *biases]
        gradients = tape.gradient(loss, [each.value for each in variables])
        optimizer.apply([tf.convert_to_tensor(each) for each in gradients], variables)
    for kernel, book, code in zip(values(model), books, codes, strict=True):
        expected = np.where(code < 0, 0, np.array(book)[np.maximum(code, 0)])
        np.testing.assert_allclose(kernel, expected, atol=2e-5)


def test_what_was_torn_apart_is_joined(data):
    model = shared()
    before, clusters = partition(model), weight_sharing.clusters(model)
    kernel = masked_weights.require(model)[0]
    noise = np.random.default_rng(0).normal(0, 1e-3, kernel.variable.shape)
    torn = kernel.values() + noise * kernel.alive()
    kernel.variable.assign(torn)
    assert len(np.unique(kernel.values())) > 5
    weight_sharing.join_clusters(clusters)
    assert partition(model) == before
    for code in range(4):
        member = clusters[kernel] == code
        np.testing.assert_allclose(kernel.values()[member], torn[member].mean(), atol=1e-6)


def test_the_optimizer_gets_its_updates_back(data):
    model = shared()
    model.fit(*data, verbose=0, callbacks=[WeightSharing()])
    assert "apply" not in vars(model.optimizer)
    model.fit(*data, verbose=0)
    assert len(np.unique(values(model)[0])) > 5


def test_a_model_that_is_not_shared_is_told(data):
    model = kprune.wrap(compiled(mlp()))
    with pytest.raises(ValueError, match="Write kprune.training.share_weights"):
        model.fit(*data, verbose=0, callbacks=[WeightSharing()])
    model = shared()
    model.optimizer = None
    with pytest.raises(ValueError, match="has no optimizer"), weight_sharing.sharing(model):
        pass
