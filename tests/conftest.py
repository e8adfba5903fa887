"""Gives every test the same start, and a problem to learn."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Most of the time of a small fit is its trace, of which this is a seventh.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_collection_finish() -> None:
    """Takes what was imported out of garbage collection."""
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _collect_garbage():
    """Collects garbage once for each file, and never looks again at what is left.

    A collection for each test costs seconds, as the heap of a long run grows.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _fresh():
    """Starts each test from the same random state and the same names of layers."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    """Sixty-four points of a problem that a small network learns."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((64, 12)).astype("float32")
    return x, (x[:, :4].argmax(axis=1)).astype("int32")
