"""Saving, loading and resuming: masks travel with the weights, plain files stay plain."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from models import compiled, mlp

import kprune
from kprune._masking import masked_weights

PolynomialDecay = kprune.schedules.PolynomialDecay


def masks(model):
    return [np.array(weight.alive()) for weight in masked_weights.require(model)]


def same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_wrapped_model_loads_without_kprune(tmp_path, data):
    model = kprune.wrap(mlp())
    kprune.prune(model, 0.5)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", data[0])
    program = (
        "import keras, numpy, sys\n"
        f"model = keras.models.load_model(r'{tmp_path / 'model.keras'}')\n"
        f"numpy.save(r'{tmp_path / 'y.npy'}', model(numpy.load(r'{tmp_path / 'x.npy'}')))\n"
        "assert not any(name.startswith('kprune') for name in sys.modules)\n"
        "print(len(model.weights), sum(int((k == 0).sum()) for k in model.get_weights()[::2]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["4", "128"], done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(data[0]), rtol=1e-5)


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "tflite_float32"])
def test_weights_restore_masks(pattern, tmp_path, data):
    model = kprune.wrap(mlp(), pattern=pattern)
    kprune.prune(model, 0.5)
    model.save_weights(tmp_path / "model.weights.h5")
    other = kprune.wrap(mlp(), pattern=pattern)
    other.load_weights(tmp_path / "model.weights.h5")
    same(masks(other), masks(model))
    same(other.get_weights(), model.get_weights())
    other.fit(*data, verbose=0)
    assert kprune.report(other).sparsity == 0.5


def test_dense_weights_into_a_wrapped_model(tmp_path):
    dense = mlp()
    dense.save_weights(tmp_path / "dense.weights.h5")
    model = kprune.wrap(mlp())
    with pytest.warns(UserWarning, match="saved from a model without masks"):
        model.load_weights(tmp_path / "dense.weights.h5")
    same(model.get_weights(), dense.get_weights())
    assert kprune.report(model).sparsity == 0


def test_a_stopped_training_resumes_exactly(tmp_path, data):
    """Four epochs in one go, and two and two with a file between them: the same weights."""

    def pruning():
        return kprune.callbacks.Pruning(PolynomialDecay(0.1, 0.8, 0.0, 0.9, frequency=3))

    def train(model, epochs, initial_epoch=0):
        model.fit(
            *data,
            batch_size=16,
            shuffle=False,
            verbose=0,
            epochs=epochs,
            initial_epoch=initial_epoch,
            callbacks=callbacks,
        )

    callbacks = [pruning()]
    whole = kprune.wrap(mlp())
    initial = whole.get_weights()
    train(whole, 4)

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    first = kprune.wrap(mlp())
    first.set_weights(initial)
    callbacks = [pruning(), Stop()]
    with pytest.warns(UserWarning, match="Training ended at step 8"):
        train(first, 4)
    first.save_weights(tmp_path / "stopped.weights.h5")

    second = kprune.wrap(mlp())
    second.optimizer.build(second.trainable_variables)
    second.load_weights(tmp_path / "stopped.weights.h5")
    assert int(second.optimizer.iterations) == 8
    same(masks(second), masks(first))
    callbacks = [pruning()]
    train(second, 4, initial_epoch=2)
    same(second.get_weights(), whole.get_weights())
    same(masks(second), masks(whole))


def test_single_wrapped_layers_go_on_with_the_masks_of_a_file(tmp_path, data):
    def network():
        wrapped = kprune.Pruned(keras.layers.Dense(16, activation="relu"), pattern="2:4")
        head = keras.layers.Dense(4, activation="softmax")
        return compiled(keras.Sequential([keras.Input((12,)), wrapped, head]))

    model = network()
    kprune.prune(model, 0.5)
    model.fit(*data, verbose=0)
    model.save_weights(tmp_path / "model.weights.h5")
    again = network()
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "model.weights.h5")
    same(masks(again), masks(model))
    again.fit(*data, verbose=0)
    assert kprune.report(again).sparsity == 0.5
    again.summary(print_fn=lambda text: None)
    assert len(again.weights) == 4


def test_backup_and_restore(tmp_path, data):
    """Keras's own way to survive a crash."""

    class Crash(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def callbacks(*more):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return [backup, kprune.callbacks.Pruning(PolynomialDecay(0.0, 0.8, 0.0, 0.8)), *more]

    model = kprune.wrap(mlp())
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data, batch_size=16, epochs=4, verbose=0, callbacks=callbacks(Crash()))
    other = kprune.wrap(mlp())
    history = other.fit(*data, batch_size=16, epochs=4, verbose=0, callbacks=callbacks())
    assert history.epoch == [2, 3]
    assert kprune.report(other).kept == 256 - round(0.8 * 256)


def test_clone_and_copy_are_plain(data):
    model = kprune.wrap(mlp())
    kprune.prune(model, 0.5)
    assert not masked_weights.find(keras.models.clone_model(model))


@pytest.mark.filterwarnings("ignore:`compile\\(\\)` was not called:UserWarning")
def test_kerashub_keeps_its_class(tmp_path):
    from models import kerashub

    model, x = kerashub()
    kprune.wrap(model, exclude="embeddings")
    kprune.prune(model, 0.6)
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "bert.keras")
    again = keras.models.load_model(tmp_path / "bert.keras")
    assert type(again) is type(model)
    np.testing.assert_allclose(again.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)
