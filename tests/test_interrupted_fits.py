"""A fit that ends by an error or Ctrl-C leaves nothing of a callback behind."""

import keras
import numpy as np
import pytest

import kprune

layers = keras.layers
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(64, 8)).astype("float32")
Y = GENERATOR.integers(0, 4, 64)
SCHEDULE = kprune.schedules.PolynomialDecay(0.0, 0.9, 0.9, 1.0)

CALLBACKS = {
    "movement": lambda: kprune.callbacks.Pruning(SCHEDULE, "movement"),
    "saliency": lambda: kprune.callbacks.Pruning(SCHEDULE, "saliency"),
    "regularization": lambda: kprune.callbacks.Regularization(keras.regularizers.L2(0.5)),
    "proximal": lambda: kprune.callbacks.ReweightedProximal(0.05, end_step=0.9),
    "weight_sharing": kprune.callbacks.WeightSharing,
}


class Stop(keras.callbacks.Callback):
    """Ends a fit as an error in the data, a full disk or Ctrl-C does."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            raise self.error


def network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(16), layers.Dense(4, activation="softmax")]
    )
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    kprune.prune(model, 0.5)
    kprune.training.share_weights(model, bits=2)
    return model


def fit(model, *callbacks, epochs=1):
    options = {"batch_size": 16, "verbose": 0, "shuffle": False}
    model.fit(X, Y, epochs=epochs, callbacks=[*callbacks], **options)
    return model.get_weights()


def interrupt(model, callback, error=KeyboardInterrupt):
    """Interrupts a fit; keeps what a traceback in a notebook keeps; restores the weights."""
    before = model.get_weights()
    with pytest.raises(error) as kept:
        fit(model, callback, Stop(error("stop")))
    model.set_weights(before)
    model.optimizer.iterations.assign(0)
    return kept


@pytest.fixture(scope="module")
def untouched():
    return fit(network(), epochs=2)


@pytest.mark.parametrize("name", CALLBACKS)
def test_the_next_plain_fit_is_that_of_an_untouched_model(name, untouched):
    model, callback = network(), CALLBACKS[name]()
    error = {"movement": RuntimeError, "proximal": ValueError}.get(name, KeyboardInterrupt)
    kept = interrupt(model, callback, error)
    for ours, theirs in zip(fit(model, epochs=2), untouched, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert kept is not None and "apply" not in vars(model.optimizer)
    assert all(each.regularizer is None for each in model.trainable_variables)
    own = [weight.variable.constraint.own for weight in kprune.masked_weights(model)]
    assert own == [None, None]


def test_evaluate_a_loop_of_ones_own_and_strip_end_it_too():
    model = network()
    plain = model.evaluate(X, Y, verbose=0)
    kept = interrupt(model, CALLBACKS["regularization"]())
    assert model.evaluate(X, Y, verbose=0) == plain

    kept = interrupt(model, CALLBACKS["weight_sharing"]())
    model.optimizer.apply([keras.ops.ones_like(w) for w in model.trainable_weights])
    assert "apply" not in vars(model.optimizer)

    kept = interrupt(model, CALLBACKS["proximal"]())
    assert kprune.strip(model) is model and kept is not None
    assert all(each.constraint is None for each in model.trainable_variables)
    assert not any(name.startswith(("kprune", "make_")) for name in vars(model))


def test_a_running_fit_keeps_what_it_has_when_it_validates_and_predicts():
    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.predict(X, verbose=0)
            self.model.evaluate(X, Y, verbose=0)

    model = network()
    model.fit(
        X, Y, verbose=0, validation_data=(X, Y), callbacks=[CALLBACKS["weight_sharing"](), Look()]
    )
    assert [len(np.unique(w.values()[w.alive()])) for w in kprune.masked_weights(model)] == [4, 4]


def test_two_that_change_gradients_in_one_fit():
    """Neither undoes the other, and both end, in the order in which they began."""
    model = network()
    pruning = kprune.callbacks.Pruning(kprune.schedules.Constant(0.75, begin_step=3), "movement")
    fit(model, pruning, CALLBACKS["weight_sharing"](), CALLBACKS["regularization"](), epochs=2)
    assert kprune.report(model).sparsity == 0.75
    assert all(len(np.unique(w.values()[w.alive()])) <= 4 for w in kprune.masked_weights(model))
    assert "apply" not in vars(model.optimizer)
    fit(model)
    assert all(len(np.unique(w.values()[w.alive()])) > 4 for w in kprune.masked_weights(model))
