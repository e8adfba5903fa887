"""Reweighted proximal pruning: the golden iterates, every optimizer, the masks at the end."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import compiled, mlp
from test_training import LOOPS

import kprune
from kprune._masking import masked_weights, slot_variables
from kprune.training import proximal

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.01),
    "loss scaling": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
}


class Numbers(keras.layers.Layer):
    """Three numbers that are trained towards (2, -1, 0.5)."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(1, 3), initializer="ones", name="kernel")

    def call(self, x):
        return x + self.kernel


def numbers(optimizer):
    model = keras.Sequential([keras.Input((3,)), Numbers()])
    # The gradient of half the squared distance, so that a step of rate 1 arrives.
    model.compile(optimizer, lambda y, p: tf.reduce_sum((y - p) ** 2, axis=-1) / 2)
    model.layers[0].kernel.assign([[2.0, -1.0, 0.5]])
    return kprune.wrap(model), np.zeros((1, 3)), np.array([[2.0, -1.0, 0.5]])


def test_the_golden_iterates():
    """METHODS' fixed points for threshold = epsilon = 0.1, by gradient steps of rate 1."""
    model, x, y = numbers(keras.optimizers.SGD(1.0))
    rpp = kprune.callbacks.ReweightedProximal(0.1, epsilon=0.1, reweighting=1, end_step=1.0)
    history = model.fit(x, y, epochs=60, verbose=0, callbacks=[rpp]).history
    np.testing.assert_allclose(model.layers[0].kernel[0], [1.9512492, -0.9, 0], atol=1e-6)
    assert history["sparsity"][0] == 0 and history["sparsity"][-1] == pytest.approx(1 / 3)
    assert kprune.report(model).sparsity == pytest.approx(1 / 3)


def test_a_large_epsilon_is_the_lasso():
    """Soft thresholding by tau = strength / epsilon, the closed form of the lasso."""
    model, x, y = numbers(keras.optimizers.SGD(1.0))
    rpp = kprune.callbacks.ReweightedProximal(6e5, epsilon=1e6, reweighting=1, end_step=1.0)
    model.fit(x, y, epochs=3, verbose=0, callbacks=[rpp])
    np.testing.assert_allclose(model.layers[0].kernel[0], [1.4, -0.4, 0], atol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_the_optimizers_own_then_the_proximal_one(name, data):
    """Two models of the same start: one shrunk in the train step, one by hand after it."""
    rate = keras.optimizers.schedules.InverseTimeDecay(0.01, 1, 1.0)
    optimizers = [OPTIMIZERS[name]() for _ in range(2)]
    for each in optimizers:
        getattr(each, "inner_optimizer", each).learning_rate = rate
    models = [compiled(mlp(), each) for each in optimizers]
    models[1].set_weights(models[0].get_weights())
    strength, epsilon = 0.05, 0.01
    for model in models:
        kprune.wrap(model)
    rpp = kprune.callbacks.ReweightedProximal(strength, epsilon, reweighting=3, end_step=1.0)
    models[0].fit(*data, batch_size=16, epochs=2, shuffle=False, verbose=0, callbacks=[rpp])
    x, y = data
    for step in range(8):
        kernels = [each.variable for each in masked_weights.require(models[1])]
        if step % 3 == 0:
            alpha = [1 / (abs(np.array(kernel)) + epsilon) for kernel in kernels]
        eta = 0.01 / (1 + step)
        at = slice(16 * (step % 4), 16 * (step % 4) + 16)
        models[1].train_on_batch(x[at], y[at])
        for kernel, each in zip(kernels, alpha, strict=True):
            a = np.array(kernel)
            kernel.assign(np.sign(a) * np.maximum(abs(a) - eta * strength * each, 0))
    for one, other in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)
    assert kprune.report(models[0]).sparsity > 0


@pytest.mark.parametrize("loop", LOOPS)
def test_every_loop_ends_on_its_masks(loop, data):
    model = kprune.wrap(compiled(mlp(), "adam", **LOOPS[loop]))
    rpp = kprune.callbacks.ReweightedProximal(2.0, 0.01, reweighting=4, end_step=0.5)
    history = model.fit(*data, batch_size=8, epochs=4, verbose=0, callbacks=[rpp]).history
    emerged = history["sparsity"]
    assert 0 < emerged[0] <= emerged[1] == emerged[2] == emerged[3] < 1
    for weight in masked_weights.require(model):
        np.testing.assert_array_equal(weight.values() != 0, weight.alive())
        assert weight.constraint is None
    assert slot_variables.values(model, "proximal", masked_weights.require(model)) is None


def test_gradient_accumulation_shrinks_where_it_updates():
    model, x, y = numbers(keras.optimizers.SGD(1.0, gradient_accumulation_steps=4))
    rpp = kprune.callbacks.ReweightedProximal(0.1, epsilon=0.1, reweighting=1, end_step=1.0)
    data = np.repeat(x, 8, axis=0), np.repeat(y, 8, axis=0)
    model.fit(*data, batch_size=1, epochs=1, verbose=0, callbacks=[rpp])
    w = np.array([2.0, -1.0, 0.5])
    for _ in range(2):
        w = np.sign(y[0]) * np.maximum(abs(y[0]) - 0.1 / (abs(w) + 0.1), 0)
    np.testing.assert_allclose(model.layers[0].kernel[0], w, atol=1e-6)


def test_the_users_constraint_comes_first_and_comes_back(data):
    own = keras.constraints.NonNeg()
    model = keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(4, "softmax", kernel_constraint=own)]
    )
    kprune.wrap(compiled(model))
    rpp = kprune.callbacks.ReweightedProximal(1.0, end_step=0.5)
    model.fit(*data, epochs=2, verbose=0, callbacks=[rpp])
    assert (masked_weights.require(model)[0].values() >= 0).all()
    kprune.strip(model)
    assert model.layers[0].kernel.constraint is own


def test_a_stopped_training_goes_on_with_its_alpha(data, tmp_path):
    """Stopped between two reweightings and resumed in a new model: as if never stopped."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise InterruptedError

    def fit(model, *callbacks):
        rpp = kprune.callbacks.ReweightedProximal(0.5, 0.01, reweighting=6, end_step=1.0)
        model.fit(*data, 16, 4, verbose=0, shuffle=False, callbacks=[rpp, *callbacks])

    def fresh():
        keras.utils.set_random_seed(1)
        return kprune.wrap(compiled(mlp()))

    whole, stopped, resumed = fresh(), fresh(), fresh()
    fit(whole)
    with pytest.raises(InterruptedError):
        fit(stopped, keras.callbacks.BackupAndRestore(tmp_path), Stop())
    fit(resumed, keras.callbacks.BackupAndRestore(tmp_path))
    assert kprune.report(whole).sparsity > 0
    for one, other in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_fit_that_failed_leaves_nothing_that_shrinks(data):
    class Fail(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise InterruptedError

    model = kprune.wrap(compiled(mlp()))
    with pytest.raises(InterruptedError):
        rpp = kprune.callbacks.ReweightedProximal(1.0)
        model.fit(*data, verbose=0, callbacks=[rpp, Fail()])
    kprune.strip(model)
    assert all(each.constraint is None for each in model.weights)


@pytest.mark.parametrize(
    "rate", [0.05, keras.optimizers.schedules.CosineDecay(0.1, 400)], ids=["constant", "cosine"]
)
def test_a_strength_finds_its_zeros(rate):
    """Where no gradient holds them up, as many as were asked for."""
    model = kprune.wrap(mlp(inputs=60, hidden=50))
    model.compile(keras.optimizers.SGD(rate), lambda y, p: 0.0 * tf.reduce_sum(p, axis=-1))
    strength = kprune.training.proximal_strength(model, 0.7, steps=400)
    rpp = kprune.callbacks.ReweightedProximal(strength, reweighting=1, end_step=400)
    model.fit(np.zeros((400, 60)), np.zeros(400), 1, verbose=0, callbacks=[rpp])
    assert kprune.report(model).sparsity == pytest.approx(0.7, abs=0.01)


def test_no_strength_without_a_rate():
    model = kprune.wrap(mlp())
    model.compile(keras.optimizers.SGD(0.0), "mse")
    with pytest.raises(ValueError, match=r"sum to 0; expected more than 0. Write model.compile"):
        kprune.training.proximal_strength(model, 0.5, 10)


@pytest.mark.parametrize("argument", ["strength", "epsilon"])
def test_arguments_are_above_zero(argument):
    with pytest.raises(ValueError, match=f"{argument}=0; expected a number, more than 0"):
        kprune.callbacks.ReweightedProximal(**{"strength": 1.0, argument: 0})


def test_prox_is_the_minimum_it_stands_for():
    """The minimum of (v - w)^2 / 2 + t |v|, found on a fine grid."""
    grid = np.linspace(-3, 3, 60001)
    for w in (-1.7, -0.2, 0.0, 0.4, 2.3):
        best = grid[np.argmin((grid - w) ** 2 / 2 + 0.35 * abs(grid))]
        assert float(proximal.prox(tf.constant(w), 0.35)) == pytest.approx(best, abs=1e-4)
