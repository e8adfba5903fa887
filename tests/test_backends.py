"""Runs `test_every_backend.py` on JAX and torch, and compares what the backends prune."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import one_shot
import pytest

HERE = pathlib.Path(__file__).parent
OTHERS = "jax", "torch"
PROGRAM = """
import sys, numpy, one_shot, pytest
numpy.savez(sys.argv[1], **one_shot.prune_by_all())
assert "tensorflow" not in sys.modules
sys.exit(pytest.main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def pruned():
    """What every method leaves of the same networks on TensorFlow."""
    return one_shot.prune_by_all()


def assert_passes(backend, program, *arguments):
    """Runs tests on a backend, in a process of its own."""
    path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": path}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # XLA's, which take longer than they save
    environment.pop("PYTEST_ADDOPTS", None)
    options = "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-c", HERE.parent / "setup.cfg"
    command = [sys.executable, *program, *arguments, *options]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]


@pytest.mark.parametrize("backend", OTHERS)
def test_what_holds_on_every_backend(backend, pruned, tmp_path):
    """In one process a backend. Masks are the same as on TensorFlow; moved survivors nearly so."""
    written = tmp_path / "pruned.npz"
    assert_passes(backend, ["-c", PROGRAM], written, HERE / "test_every_backend.py")
    with np.load(written) as found:
        assert set(found) == pruned.keys()
        for name, expected in pruned.items():
            np.testing.assert_array_equal(found[name] != 0, expected != 0, err_msg=name)
            np.testing.assert_allclose(found[name], expected, rtol=2e-3, atol=2e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
def test_models_of_tfmot_become_models_of_the_backend(backend):
    chosen = "predictions_and_masks or named_as or dicts or passed_on"
    assert_passes(backend, ["-m", "pytest"], HERE / "test_migrate.py", "-k", chosen)
