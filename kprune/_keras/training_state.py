"""Reads and restores what decides how a `fit` goes on, beside the variables that a file holds."""

import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kprune._keras import backend, borrowing, fits
from kprune._keras.tensorflow import tf


def read_random_state(model: keras.Model) -> dict[str, Any]:
    """Returns the states of all random numbers: of Python, NumPy, Keras, torch and the layers."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "keras": np.array(backend.read(_global_generator().state)),
        "layers": [np.array(backend.read(each)) for each in seed_variables(model)],
    }
    if backend.NAME == "torch":
        import torch

        state["torch"] = np.array(torch.get_rng_state())
    return state


def write_random_state(model: keras.Model, state: dict[str, Any]) -> None:
    """Restores what `read_random_state` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(state["numpy"]))
    _global_generator().state.assign(state["keras"])
    for variable, value in zip(seed_variables(model), state["layers"], strict=True):
        variable.assign(value)
    if "torch" in state:
        import torch

        torch.set_rng_state(torch.from_numpy(state["torch"]))


def seed_variables(model: keras.Model) -> list[keras.Variable]:
    """Returns the variables of random layers, such as dropout, which Keras's files leave out."""
    others = {id(each) for each in (*model.weights, *model.metrics_variables)}
    return [each for each in model.variables if id(each) not in others]


def _global_generator() -> Any:
    from keras.src.random import seed_generator

    return seed_generator.global_seed_generator()


def begin_at(model: keras.Model, epoch: int) -> Any:
    """Lets the `fit` that runs `on_train_begin` begin with an epoch; a context for that fit."""
    return borrowing.patched(model, "_initial_epoch", lambda initial: epoch)


def shuffle_by_epoch(seed: int) -> Callable[[int], None]:
    """Lets the running `fit` shuffle arrays by a seed and the number of the epoch.

    TensorFlow's own shuffle depends on what was shuffled before in the process. On JAX and torch
    the states of NumPy and torch decide, which `write_random_state` restores. Data sets and
    generators are not changed.

    Args:
        seed: a number below 2 ** 31.

    Returns:
        A function that is called with each epoch before it begins.
    """
    iterator = fits.running_variable("epoch_iterator")
    adapter: Any = getattr(iterator, "data_adapter", None)
    if backend.NAME != "tensorflow" or getattr(adapter, "_shuffle", None) is not True:
        return lambda epoch: None
    if type(adapter).__name__ != "ArrayDataAdapter":
        return lambda epoch: None
    key = tf.Variable([seed, 0], dtype=tf.int64, trainable=False)

    def shuffle(indices: Any) -> Any:
        return tf.random.experimental.stateless_shuffle(indices, seed=key)

    with borrowing.patched(tf.random, "shuffle", lambda original: shuffle):
        dataset = adapter.get_tf_dataset()
    strategy = iterator._distribute_strategy
    iterator._distributed_dataset = strategy.experimental_distribute_dataset(dataset)
    return lambda epoch: key.assign([seed, epoch])
