"""Runs the battery of `tests/backends` on every backend of Keras, in a process for each."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
BACKENDS = "tensorflow", "jax", "torch"


def assert_runs(backend, *arguments):
    """Runs Python on a backend; the tests' helpers can be imported."""
    path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": path}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_pruning_imports_no_tensorflow(backend):
    program = (
        "import sys, kprune, keras\n"
        "model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])\n"
        "print(kprune.prune(model, 0.5))\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    assert_runs(backend, "-c", program)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_battery(backend):
    options = "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-c", HERE.parent / "setup.cfg"
    assert_runs(backend, "-m", "pytest", *options, HERE / "backends" / "battery.py")


def test_every_backend_prunes_alike(tmp_path):
    """Masks are the same, and moved survivors are within rounding of the forward pass."""
    found = {}
    for backend in BACKENDS:
        assert_runs(backend, HERE / "backends" / "one_shot.py", tmp_path / f"{backend}.npz")
        found[backend] = dict(np.load(tmp_path / f"{backend}.npz"))
    for backend in BACKENDS[1:]:
        assert found[backend].keys() == found["tensorflow"].keys()
        for name, expected in found["tensorflow"].items():
            values = found[backend][name]
            np.testing.assert_array_equal(values != 0, expected != 0, err_msg=name)
            np.testing.assert_allclose(values, expected, rtol=2e-3, atol=2e-4, err_msg=name)
