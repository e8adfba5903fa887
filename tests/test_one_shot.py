"""The one-shot program: its data files, its table, its model, and what it says of wrong flags."""

from pathlib import Path

import keras
import numpy as np
import programs
import pytest
from models import compiled, mlp

from training import examples

PROGRAM = Path(examples.__file__).parents[1] / "prune_one_shot.py"


@pytest.fixture
def files(tmp_path, data):
    """A trained model with batch normalisation, and calibration data beside it."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(16, "relu"),
            layers.BatchNormalization(),
            layers.Dense(4, "softmax"),
        ],
        name="small",
    )
    compiled(model).fit(*data, epochs=5, verbose=0)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "calibration.npz", x=data[0], y=data[1])
    return tmp_path, model


def test_any_model_from_a_file(files, data):
    directory, model = files
    page = programs.run(
        PROGRAM,
        "--model=model.keras",
        "--calibration=calibration.npz",
        "--criterion=sparse_gpt",
        "--refit=least_squares",
        "--sparsity=0.75",
        "--pattern=1:4",
        "--output=out/pruned.keras",
        directory=directory,
    )
    pruned = keras.saving.load_model(directory / "out" / "pruned.keras")
    kernels = [np.asarray(each) for each in pruned.weights if each.path.endswith("kernel")]
    assert sum(int((each == 0).sum()) for each in kernels) == round(0.75 * 256)
    for kernel in kernels:
        groups = (kernel != 0).reshape(-1, 4, kernel.shape[1]).sum(axis=1)
        assert (groups <= 1).all()
    for each, name in ((model, "before"), (pruned, "after")):
        accuracy = each.evaluate(*data, verbose=0)[1]
        assert f"{accuracy:.4f}" in page, name
    moved = pruned.layers[1].moving_mean - model.layers[1].moving_mean
    assert np.abs(moved).max() > 1e-3  # of batch normalisation
    change = np.asarray(pruned(data[0])) - np.asarray(model(data[0]))
    relative = np.linalg.norm(change) / np.linalg.norm(np.asarray(model(data[0])))
    assert f"{relative:.4f}" in page


def test_wrong_flags_say_what_to_write(files):
    directory, _ = files
    page = programs.run(PROGRAM, "--model=model.keras", directory=directory, good=False)
    assert "Write --calibration=calibration.npz" in page and "Traceback" not in page
    np.savez(directory / "wrong.npz", x=np.zeros((5, 7)))
    arguments = "--model=model.keras", "--calibration=wrong.npz"
    page = programs.run(PROGRAM, *arguments, directory=directory, good=False)
    assert "Traceback" not in page and not (directory / "savedmodels").exists()


def test_data_files(tmp_path):
    x, y = np.arange(12.0).reshape(6, 2), np.arange(6)
    np.savez(tmp_path / "a.npz", x=x, y=y, sample_weight=y + 1)
    np.savez(tmp_path / "b.npz", **{"x/left": x, "x/right": x + 1})
    np.save(tmp_path / "c.npy", x)
    for found, given in zip(examples.read(tmp_path / "a.npz"), (x, y, y + 1), strict=True):
        np.testing.assert_array_equal(found, given)
    (found,) = examples.read(tmp_path / "b.npz", samples=2)
    assert set(found) == {"left", "right"} and (found["right"] == x[:2] + 1).all()
    (found,) = examples.read(tmp_path / "c.npy")
    np.testing.assert_array_equal(found, x)
    (tmp_path / "d.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "e.npz", y=y)
    for name, message in (("d", "cannot be read"), ("e", "has arrays y"), ("f", "cannot be read")):
        with pytest.raises(ValueError, match=f"{message}.*numpy.savez"):
            examples.read(tmp_path / f"{name}.npz")


def test_a_model_that_is_none(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"no model")
    with pytest.raises(ValueError, match="expected a .keras file"):
        examples.loaded(str(tmp_path / "model.keras"))
    model = keras.Sequential.from_config(mlp().get_config())
    model.save(tmp_path / "model.keras")
    assert examples.loaded(str(tmp_path / "model.keras")).count_params() == model.count_params()
