"""Copies and pickles of wrapped models keep their masks; clones are new, dense models."""

import copy
import pickle
import threading

import keras
import numpy as np
import pytest
from models import compiled, mlp

import kprune

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


def outer_model():
    """A model that holds a wrapped one, whose masks it knows nothing of."""
    inner = keras.Sequential([keras.Input((12,)), keras.layers.Dense(8)], name="inner")
    kprune.wrap(inner, pattern="2:4")
    return compiled(keras.Sequential([inner, keras.layers.Dense(4, activation="softmax")]))


def layered_model():
    wrapped = kprune.wrap(keras.layers.Dense(16, activation="relu"))
    head = keras.layers.Dense(4, activation="softmax")
    return compiled(keras.Sequential([keras.Input((12,)), wrapped, head]))


MODELS = {"model": lambda: kprune.wrap(mlp()), "outer": outer_model, "layer": layered_model}


@pytest.mark.parametrize(
    ("how", "which"),
    [("copy", "model"), ("deepcopy", "outer"), ("pickle", "layer"), ("pickle", "model")],
)
def test_masks_and_what_belongs_to_them(how, which, data):
    model = MODELS[which]()
    model.optimizer.build(model.trainable_variables)  # Keras warns of one that was never used
    kprune.prune(model, 0.5)
    again = COPIES[how](model)
    ours, theirs = kprune.masked_weights(again), kprune.masked_weights(model)
    assert [(w.label, w.pattern, w.kept_at_wrap) for w in ours] == [
        (w.label, w.pattern, w.kept_at_wrap) for w in theirs
    ]
    again.fit(*data, verbose=0)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.alive(), other.alive())
        assert not one.values()[~one.alive()].any() and one.variable is not other.variable
    assert not kprune.masked_weights(kprune.strip(again)) and kprune.masked_weights(model)


def test_a_plain_model_is_pickled_as_keras_does():
    model = mlp()
    function, arguments = model.__reduce__()
    assert function == type(model)._unpickle_model and len(arguments) == 1


def test_a_clone_is_dense():
    model = kprune.wrap(mlp())
    kprune.prune(model, 0.5)
    clone = keras.models.clone_model(model)
    assert not kprune.masked_weights(clone)
    assert all((np.asarray(each.kernel) != 0).all() for each in clone.layers)


def test_a_copy_with_other_variables_is_refused():
    class Grown(keras.Model):
        widths = [3]

        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(self.widths[0])

        def call(self, x):
            return self.dense(x)

        def get_config(self):
            return {}

    keras.saving.get_custom_objects()["Grown"] = Grown
    model = Grown()
    model(np.zeros((1, 2), "float32"))
    kprune.prune(model, 0.5)
    function, (reduced, masks, marked) = model.__reduce__()
    other = mlp()
    with pytest.raises(ValueError, match=r"other variables than the model.*kprune.strip\(model\)"):
        function((lambda: other, ()), masks, marked)
    assert not kprune.masked_weights(other)


def test_one_thread_wraps_while_another_predicts(data):
    model, errors, calls = mlp(), [], [0]
    model.predict(data[0], verbose=0)
    done = threading.Event()

    def predict():
        while not done.is_set():
            try:
                model.predict(data[0], verbose=0)
                calls[0] += 1
            except Exception as error:
                errors.append(error)
                return

    thread = threading.Thread(target=predict)
    thread.start()
    for _ in range(8):
        kprune.strip(kprune.wrap(model))
    done.set()
    thread.join()
    assert not errors and calls[0]
