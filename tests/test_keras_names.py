"""The names of Keras that have no promise: each is used here as kprune uses it."""

import gc
import inspect
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import KINDS, compiled, mlp

from kprune._keras import backend, fits, graphs, optimizers, private, saving, state, walk
from kprune._keras import compiled as functions

layers = keras.layers


def test_a_constraint_is_applied_after_every_update():
    """The seam on which everything rests."""

    class Halves(keras.constraints.Constraint):
        def __call__(self, w):
            return w / 2

    variable = keras.Variable(np.full(3, 8.0, "float32"))
    variable.constraint = Halves()
    keras.optimizers.SGD(1.0).apply([tf.ones(3) * 2], [variable])
    np.testing.assert_array_equal(variable, np.full(3, 3.0))  # (8 - 2) / 2


def test_walking():
    """`_flatten_layers`, `_layers`, `_trainable_variables`, `_non_trainable_variables`."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.BatchNormalization()])
    model = keras.Sequential([inner, layers.Dense(2)])
    model.build((None, 4))
    flat = walk.layers(model)
    assert flat[0] is model and {type(each).__name__ for each in flat} >= {"Dense", "Sequential"}
    assert [each.name for each in walk.variables(inner.layers[1])] == [
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
    ]
    assert inner in walk.children(model)
    assert list(walk.models_sharing([inner.layers[0]])).count(model) == 1
    del model, flat
    gc.collect()
    assert [each for each in walk.models_sharing([inner.layers[0]])][0] is not None


def test_graphs_and_what_they_are_called_with():
    """`_functional` of Sequential, `_nodes_by_depth` of Functional."""
    chain = keras.Sequential([layers.Dense(2)])
    assert not graphs.is_graph(chain)
    chain.build((None, 3))
    two = {"a": keras.Input((3,), name="a"), "b": keras.Input((2,), dtype="int32", name="b")}
    graph = keras.Model(two, layers.Dense(1)(two["a"]))
    assert (
        graphs.is_graph(chain) and graphs.is_graph(graph) and not graphs.is_graph(layers.Dense(1))
    )
    assert [type(each).__name__ for each in graphs.chain(chain)] == ["InputLayer", "Dense"]
    assert graphs.chain(graph) is None and graphs.chain(layers.Dense(1)) is None
    ((nest,), (spec,)) = graphs.call_arguments(graph), graphs.call_arguments(chain)
    assert {key: (x.shape, x.dtype) for key, x in nest.items()} == {
        "a": ((None, 3), "float32"),
        "b": ((None, 2), "int32"),
    }
    assert spec.shape == (None, 3)

    class Two(keras.Model):
        def call(self, x, other):
            return x

    class One(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    one = One()
    one(np.ones((5, 3), "float32"))
    assert graphs.call_arguments(one)[0].shape == (5, 3)
    assert graphs.call_arguments(Two()) is None


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Dense(2), (None, 3)),
        (layers.EinsumDense("ab,bc->ac", 2), (None, 3)),
        (layers.Conv2D(2, 2), (None, 4, 4, 3)),
    ],
)
def test_kernels(layer, shape):
    """`_kernel`, which LoRA and quantization leave alone."""
    layer.build(shape)
    assert private.kernel(layer) is layer.weights[0]
    layer.enable_lora(1)
    assert private.kernel(layer) is layer._kernel


def test_what_keras_notes_on_tensors():
    """`_keras_logits` of a softmax, `_keras_mask` of an embedding."""
    x = np.array([[1, 0]])
    output = layers.Dense(2, activation="softmax")(np.ones((1, 3), "float32"))
    np.testing.assert_allclose(keras.ops.softmax(private.logits(output)), output, rtol=1e-6)
    mask = private.time_mask(layers.Embedding(3, 2, mask_zero=True)(x))
    assert np.asarray(mask).tolist() == [[True, False]]
    assert private.logits(x) is None and private.time_mask(x) is None


def test_optimizers():
    """`inner_optimizer`, `_trainable_variables`, `_iterations`, `_learning_rate`."""
    inner = keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5))
    outer = keras.optimizers.LossScaleOptimizer(inner)
    variable = keras.Variable(1.0)
    inner.build([variable])
    assert optimizers.innermost(outer) is inner and optimizers.innermost(inner) is inner
    assert optimizers.trainable_variables(inner) == [variable]
    inner.apply([tf.constant(1.0)])
    assert int(optimizers.update_count(inner)) == 1
    assert float(optimizers.learning_rate(inner)(1)) == pytest.approx(0.05)
    assert float(optimizers.learning_rate(keras.optimizers.SGD(0.25))) == 0.25


def test_compiled_functions(data):
    """`train_function` and its like, `make_train_function(force=True)`, `_compile_loss`."""
    model = compiled(mlp())
    model.predict(data[0], verbose=0)
    first = model.predict_function
    functions.forget(model)
    assert model.predict_function is not first and model.predict_function is not None
    assert model.train_function is None  # was never made
    functions.traces(model)["key"] = len
    assert functions.traces(model) == {"key": len}
    compiled(model)
    assert functions.traces(model) == {}
    made = backend.compile_function(lambda x: x + 1)
    assert made._omit_frequent_tracing_warning and float(made(tf.constant(1.0))) == 2


def test_a_running_fit_is_known(data):
    """The frame of `fit`, with the model as its `self`."""
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append(fits._running_fit())
            seen.append(fits._is_running(seen[0]))

    model = mlp()
    model.fit(*data, verbose=0, callbacks=[Look()])
    frame, is_running = seen
    assert frame.f_locals["self"] is model and is_running and not fits._is_running(frame)
    assert fits._running_fit() is None


def test_the_record_is_saved_and_not_counted(tmp_path):
    """Keras's saving walks attributes; its bookkeeping asks the tracker."""
    model = mlp()
    names = [each.path for each in model.weights]
    held = layers.Layer(name="held", trainable=False)
    held.built = True
    held.add_weight(name="extra", shape=(2,), initializer="ones", trainable=False)
    state.put(model, "held", held)
    assert [each.path for each in model.weights] == names
    model.save_weights(tmp_path / "model.weights.h5")
    held.weights[0].assign([5.0, 6.0])
    model.load_weights(tmp_path / "model.weights.h5")
    assert np.asarray(held.weights[0]).tolist() == [1, 1]
    assert state.get(model, "held") is held and state.get(model, "none", 3) == 3
    state.drop(model)
    assert state.ATTRIBUTE not in vars(model) and state.get(model, "held") is None


def test_reading_variables_and_counting_what_is_declared():
    variable = keras.Variable(np.arange(3.0), dtype="float32")
    assert backend.read(variable).tolist() == [0, 1, 2] and backend.is_initialized(variable)
    with pytest.raises(ValueError, match="read-only"):
        backend.read(variable)[0] = 1
    half = keras.Variable(np.ones(2), dtype="bfloat16")
    assert backend.read(half).astype("float32").tolist() == [1, 1]
    assert private.declared_bytes(lambda: layers.Dense(1 << 20).build((None, 1 << 20))) == (
        4 * (1 << 40) + 4 * (1 << 20)
    )


def test_pickling_goes_through_the_class():
    """`__reduce__` of Layer returns a function and one argument, the bytes of a file."""
    function, arguments = mlp().__reduce__()
    assert inspect.ismethod(function) and len(arguments) == 1
    assert len(pickle.dumps(arguments)) > 1000


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "kerashub"])
def test_the_paths_of_saved_layers(kind, tmp_path):
    """`saving_lib._walk_saveable` and the numbering of containers, as the saving itself has it."""
    model, _ = KINDS[kind]()
    found = {}
    with saving.observe_saving(
        walk.layers(model), lambda layer, path: found.update({id(layer): path})
    ):
        model.save_weights(tmp_path / "model.weights.h5")
    paths = saving.saved_paths(model)
    assert found
    for layer, path in found.items():
        assert f"{paths[layer]}/vars".lstrip("/") == path


def test_files_of_the_old_format_are_noticed(tmp_path, monkeypatch):
    """`legacy_h5_format.save_weights_to_hdf5_group` and `load_weights_from_hdf5_group`."""
    from keras.src.legacy.saving import legacy_h5_format

    for name in ("save_weights_to_hdf5_group", "load_weights_from_hdf5_group"):
        monkeypatch.setattr(legacy_h5_format, name, getattr(legacy_h5_format, name).__wrapped__)
    by_name = "load_weights_from_hdf5_group_by_name"
    monkeypatch.setattr(legacy_h5_format, by_name, getattr(legacy_h5_format, by_name).__wrapped__)
    saved, loaded = [], []
    saving.extend_legacy_files(saved.append, loaded.append)
    model = mlp()
    model.save(tmp_path / "model.h5")
    model.load_weights(tmp_path / "model.h5")
    model.load_weights(tmp_path / "model.h5", by_name=True)
    assert saved == [model] and loaded == [model, model]
