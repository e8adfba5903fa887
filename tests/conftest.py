"""What the tests share: a fresh start for each, and a problem to learn."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest


def pytest_collection_finish() -> None:
    """Each fresh session of Keras collects garbage, and imported modules are none."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _fresh():
    """Starts each test from the same random state and the same names of layers."""
    keras.backend.clear_session()
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
