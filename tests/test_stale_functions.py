"""Models compiled and fitted before something in them changed: they compute what is true now."""

import keras
import numpy as np
import pytest

import kprune
from kprune import calibration
from kprune._second_order.hessian import Objective

layers = keras.layers
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(64, 8)).astype("float32")
Y = GENERATOR.integers(0, 3, 64)


def encoder():
    return keras.Sequential(
        [keras.Input((8,)), layers.Dense(12, activation="relu")], name="encoder"
    )


def train(model):
    model.fit(X, Y, batch_size=32, verbose=0)


def compile_model(model):
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def nested():
    inner = encoder()
    return inner, compile_model(keras.Sequential([inner, layers.Dense(3)]))


def distiller():
    student = keras.Sequential([encoder(), layers.Dense(3)])
    teacher = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    outer = keras.distillation.Distiller(
        teacher, student, distillation_losses=keras.distillation.LogitsDistillation()
    )
    outer.compile("adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return student, outer


def shared_encoder():
    inner, image = encoder(), keras.Input((8,))
    first, second = (keras.Model(image, layers.Dense(3)(inner(image))) for _ in range(2))
    return first, compile_model(second)


def subclassed():
    class Outer(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = {"encoder": encoder(), "head": [layers.Dense(3)]}

        def call(self, x):
            return self.parts["head"][0](self.parts["encoder"](x))

    outer = compile_model(Outer())
    return outer.parts["encoder"], outer


HOLDERS = [nested, distiller, shared_encoder, subclassed]


@pytest.mark.parametrize("make", HOLDERS, ids=lambda make: make.__name__)
def test_zeros_hold_from_the_first_step_and_leave_with_strip(make):
    inner, outer = make()
    train(outer)  # traced without constraints
    kprune.prune(inner, 0.5)
    weights = kprune.masked_weights(inner)
    train(outer)
    for weight in weights:
        assert not weight.values()[~weight.alive()].any()
    assert sum(int((weight.values() == 0).sum()) for weight in weights) == round(
        0.5 * sum(weight.size for weight in weights)
    )
    kprune.strip(inner)  # traced with constraints
    train(outer)
    trained = [w for w in weights if any(w.variable is each for each in outer.trainable_weights)]
    assert all((weight.values() != 0).mean() > 0.6 for weight in trained) and trained


def test_a_single_layer_wrapped_in_a_fitted_model():
    inner, outer = nested()
    train(outer)
    head = outer.layers[-1]
    assert kprune.wrap(head) is head
    kprune.prune(outer, 0.5)
    train(outer)
    assert int((np.asarray(head.kernel) == 0).sum()) == 18


def test_an_outer_model_sees_a_regularizer_and_its_end():
    inner, outer = nested()
    kprune.wrap(inner)
    plain = outer.evaluate(X, Y, verbose=0)
    penalty = float((np.asarray(inner.layers[0].kernel) ** 2).sum())
    with kprune.training.regularized(inner, keras.regularizers.L2(1.0)):
        assert outer.evaluate(X, Y, verbose=0) == pytest.approx(plain + penalty, rel=1e-4)
    assert outer.evaluate(X, Y, verbose=0) == pytest.approx(plain, rel=1e-5)


def test_an_outer_model_sees_rounding_and_its_end():
    inner, outer = nested()
    plain = outer.predict(X, verbose=0)
    with kprune.training.fake_quantized(inner):
        rounded = outer.predict(X, batch_size=64, verbose=0)
        np.testing.assert_allclose(rounded, outer(X), atol=1e-5)
    assert np.abs(rounded - plain).max() > 1e-4
    np.testing.assert_allclose(outer.predict(X, verbose=0), plain, atol=1e-6)


def squared(seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    model.compile("sgd", "mse")
    return kprune.wrap(model), GENERATOR.normal(size=(64, 3)).astype("float32")


def test_kprunes_own_traces_follow_regularizers_and_rounding():
    model, y = squared()
    data = calibration.Calibration((X, y), model, "test", True)

    def traced():
        return Objective(model, [model.layers[0].kernel], "test").mean_loss(data)

    def true():
        return float(np.mean((np.asarray(model(X)) - y) ** 2) + sum(map(float, model.losses)))

    for _ in range(2):
        with kprune.training.regularized(model, keras.regularizers.L2(1.0)):
            assert traced() == pytest.approx(true(), rel=1e-5)
        assert traced() == pytest.approx(true(), rel=1e-5)
        with kprune.training.fake_quantized(model):
            assert traced() == pytest.approx(true(), rel=1e-3)


def test_saliency_after_a_regularized_fit_is_of_the_plain_loss():
    model, y = squared()
    criterion = kprune.criteria.Saliency((X, y))
    callbacks = [
        kprune.callbacks.Regularization(keras.regularizers.L2(1.0)),
        kprune.callbacks.Pruning(kprune.schedules.Constant(0.1), criterion),
    ]
    model.fit(X, y, verbose=0, callbacks=callbacks)
    (weight,) = kprune.masked_weights(model)
    gradient = 2 * X.T @ (np.asarray(model(X)) - y) / y.size
    found = criterion.observe(model, [weight], kprune.criteria.Stage(0.5))[weight]
    np.testing.assert_allclose(found, np.abs(weight.values() * gradient), atol=1e-6)
