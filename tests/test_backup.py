"""Backups: a training that is killed at any moment ends as one that never was."""

import multiprocessing
import os
import signal
import sys
import time

import keras
import numpy as np
import pytest
from killed_training import BATCHES, EPOCHS, PAUSE, train
from models import mlp

import kprune


def results(path):
    with np.load(path) as found:
        return [found[f"arr_{place}"] for place in range(len(found.files))]


def assert_equal(one, other):
    assert len(one) == len(other)
    for place, (ours, theirs) in enumerate(zip(one, other, strict=True)):
        np.testing.assert_array_equal(ours, theirs, err_msg=str(place))


def kill_at_random(directory, kills, seed=0, batches=(0, EPOCHS * BATCHES)):
    """Trains in processes of which each is killed a random time after a random batch.

    A training that ends before its kill is compared and begun anew.

    Args:
        directory: of the backups and results.
        kills: how many.
        seed: of the batches and times.
        batches: the first and last number of batches, counted in each process, that a kill waits
            for; it comes up to a tenth of a second later, in which two batches or the validation
            and the save of an epoch fit.

    Returns:
        How many kills met a training with a state on the disk, and how many trainings ended early.
    """
    directory.mkdir()
    context = multiprocessing.get_context("forkserver")  # imports TensorFlow once
    context.set_forkserver_preload(["killed_training"])
    generator, count = np.random.default_rng(seed), context.Value("i", 0)

    def start(name, pause=PAUSE):
        count.value = 0
        arguments = (directory / name, directory / f"{name}.npz", 0, pause, count)
        process = context.Process(target=train, args=arguments)
        process.start()
        return process

    for name in ("first", "whole"):
        start(name).join()
    whole, result = results(directory / "whole.npz"), directory / "killed.npz"
    assert_equal(results(directory / "first.npz"), whole)
    killed = resumed = ended = 0
    while killed < kills:
        last = generator.integers(*batches, endpoint=True)
        process = start("killed")
        while process.is_alive() and count.value < last:
            time.sleep(0.001)
        process.join(generator.uniform(0.0, 0.1))
        process.kill()
        process.join()
        if process.exitcode == 0:
            assert_equal(results(result), whole)
            result.unlink()
            ended += 1
        else:
            assert process.exitcode == -signal.SIGKILL
            killed += 1
            resumed += any((directory / "killed").glob("epochs-*"))
    start("killed", pause=0).join()
    assert_equal(results(result), whole)
    assert not any((directory / "killed").iterdir())
    return resumed, ended


@pytest.fixture
def importable(monkeypatch):
    """Lets the server of processes import the tests' modules."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


def test_kills_at_random_times(importable, tmp_path):
    """Both in the second or third epoch, after the first state was written."""
    resumed, ended = kill_at_random(
        tmp_path / "kills", 2, seed=3, batches=(BATCHES + 1, 2 * BATCHES + 2)
    )
    assert (resumed, ended) == (2, 0)


@pytest.mark.slow
def test_a_hundred_kills_at_random_times(importable, tmp_path):
    start = time.perf_counter()
    resumed, ended = kill_at_random(tmp_path / "kills", 100, seed=1)
    seconds = time.perf_counter() - start
    print(f"100 kills, {resumed} with a state on the disk, {ended} too late, {seconds:.0f} s")
    assert resumed > 50


class Stop(keras.callbacks.Callback):
    """Raises in the middle of an epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise InterruptedError


def fit(model, data, *callbacks, epochs=4):
    return model.fit(*data, batch_size=16, epochs=epochs, verbose=0, callbacks=list(callbacks))


def make():
    keras.utils.set_random_seed(2)
    return kprune.wrap(mlp(dropout=0.2))


@pytest.mark.parametrize("is_first", [True, False])
def test_early_stopping_goes_on_with_its_best_weights(is_first, data, tmp_path):
    def callbacks():
        backup = kprune.callbacks.Backup(tmp_path)
        own = [
            kprune.callbacks.ThresholdPruning(0.8, frequency=2),
            keras.callbacks.EarlyStopping("loss", patience=2, min_delta=0.2, start_from_epoch=0),
        ]
        return [backup, *own] if is_first else [*own, backup]

    whole = make()
    history = fit(whole, data, *callbacks()).history
    with pytest.raises(InterruptedError):
        fit(make(), data, *callbacks(), Stop(2, 1))
    assert [each.name for each in tmp_path.iterdir()] == ["epochs-2"]
    resumed = make()
    again = fit(resumed, data, *callbacks()).history
    assert again == history and not any(tmp_path.iterdir())
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(fit(resumed, data).history["loss"]) == 4  # a later fit begins with its first epoch


def test_a_state_that_stays_trains_nothing(data, tmp_path):
    first = make()
    fit(first, data, kprune.callbacks.Backup(tmp_path, keep=True), epochs=2)
    second = make()
    fit(second, data, kprune.callbacks.Backup(tmp_path, keep=True), Stop(0, 0), epochs=2)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_epoch_has_its_own_shuffle(tmp_path):
    """Each sample is seen once in an epoch, and in another order in the next."""
    x = np.arange(32.0, dtype="float32").reshape(-1, 1)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    kprune.wrap(model)
    seen = []
    step = model.train_step
    model.train_step = lambda batch: (seen.append(np.asarray(batch[0]).ravel()), step(batch))[1]
    model.fit(
        x, x, batch_size=8, epochs=2, verbose=0, callbacks=[kprune.callbacks.Backup(tmp_path)]
    )
    first, second = np.concatenate(seen[:4]), np.concatenate(seen[4:])
    assert sorted(first) == sorted(second) == x.ravel().tolist()
    assert (first != second).any() and (first != x.ravel()).any()


def test_the_state_of_another_model_is_refused(data, tmp_path):
    with pytest.raises(InterruptedError):
        fit(make(), data, kprune.callbacks.Backup(tmp_path), Stop(1, 1))
    with pytest.raises(ValueError, match="could not be loaded"):
        fit(kprune.wrap(mlp(hidden=9)), data, kprune.callbacks.Backup(tmp_path))
    assert [each.name for each in tmp_path.iterdir()] == ["epochs-1"]
