"""The example program, from its flags to the files it writes, on data that takes seconds."""

import gzip
import json
import math
import struct
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import programs
import pytest
import tensorflow as tf
from absl import app, flags
from absl.testing import flagsaver
from sklearn import datasets

import prune_image_classifier
from data import images
from networks import lenet
from options import image_options as options
from reports import deployment, figures
from training.image_training import RECIPES
from training.trade_off import Step

SCRIPTS = Path(prune_image_classifier.__file__).parent
MNIST = SCRIPTS.parent.parent / "shared" / "data" / "mnist"
PROGRAM = "prune_image_classifier.py"
FLAGS = flags.FLAGS
PRECISIONS = "none", "int8"
SHORT = "--epochs=2", "--prune_epochs=2", "--fine_tune_epochs=1", "--verbose=0"


def run(directory: Path, *arguments: str) -> dict:
    """Runs the program as from the command line; returns its results.json."""
    with flagsaver.flagsaver():
        FLAGS([PROGRAM, f"--output_dir={directory}", *arguments])
        prune_image_classifier.main([PROGRAM])
    return json.loads((directory / "results.json").read_text())


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    """A short run on the digits in two precisions: directory, results, output."""
    directory = tmp_path_factory.mktemp("default")
    page = directory / "stdout"
    with page.open("w") as stdout, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        epochs = "--epochs=4", "--prune_epochs=4", "--fine_tune_epochs=2"
        results = run(directory, *epochs, f"--quantization={','.join(PRECISIONS)}")
    return directory, results, page.read_text()


@pytest.fixture(scope="module")
def idx(tmp_path_factory):
    """A folder of IDX files with the digits in them, two of them gzip, one under its other name."""
    directory = tmp_path_factory.mktemp("idx")
    x, y = datasets.load_digits(return_X_y=True)
    x = np.minimum(x.reshape(-1, 8, 8) * 16, 255).astype(np.uint8)
    write_idx(directory / "train-images-idx3-ubyte.gz", x[:300])
    write_idx(directory / "train-labels.idx1-ubyte", y[:300].astype(np.uint8))
    write_idx(directory / "t10k-images-idx3-ubyte", x[300:400])
    write_idx(directory / "t10k-labels-idx1-ubyte.gz", y[300:400].astype(np.uint8))
    return directory, x, y


def write_idx(path: Path, values: np.ndarray) -> None:
    """Writes bytes as the format's page has it: magic, axes in big-endian, values."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    content = header + values.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The images that the program must have been tested on."""
    return images.load("digits").test


def kernels(path: Path) -> list[np.ndarray]:
    """The kernels of a saved model, read by Keras alone."""
    model = keras.saving.load_model(path)
    return [np.asarray(each) for each in model.weights if each.path.endswith("kernel")]


def test_the_pruned_file_has_the_final_sparsity_exactly(default):
    directory, results, _ = default
    found = kernels(directory / "pruned.keras")
    size = sum(each.size for each in found)
    assert size == 64 * 300 + 300 * 100 + 100 * 10
    assert sum(np.count_nonzero(each) for each in found) == size - round(0.9 * size)
    assert all(np.count_nonzero(each) == each.size for each in kernels(directory / "dense.keras"))
    kept = [each["kept"] for each in results["kept_by_class"].values()]
    assert kept == [np.count_nonzero(each) for each in found]


def test_compression_counts_every_parameter(default):
    directory, results, page = default
    model = keras.saving.load_model(directory / "pruned.keras")
    left = sum(
        np.count_nonzero(each) if each.path.endswith("kernel") else math.prod(each.shape)
        for each in model.weights
    )
    expected = model.count_params() / left
    assert results["report"]["compression"] == pytest.approx(expected)
    assert f"{expected:.2f}x" in page


@pytest.mark.parametrize("quantization", PRECISIONS)
@pytest.mark.parametrize("stem", ["dense", "pruned"])
def test_tflite_accuracy_is_that_of_the_interpreter(default, stem, quantization):
    directory, results, page = default
    (entry,) = entries(results, stem, f"tflite {quantization}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf.lite is on its way to LiteRT
        interpreter = tf.lite.Interpreter(model_path=str(directory / entry["name"]))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    x, y = digits()
    right = 0
    for image, label in zip(x, y, strict=True):  # one by one, where the program takes batches
        interpreter.set_tensor(taken["index"], image[None])
        interpreter.invoke()
        right += int(interpreter.get_tensor(given["index"]).argmax()) == label
    assert entry["accuracy"] == pytest.approx(right / len(y))
    assert f"{100 * right / len(y):.2f} %" in page


@pytest.mark.slow
def test_every_precision_is_written_by_default(tmp_path):
    results = run(tmp_path, *SHORT, "--nodense_extra")
    for stem in ("dense", "pruned"):
        for quantization in options.QUANTIZATIONS:
            (entry,) = entries(results, stem, f"tflite {quantization}")
            assert (tmp_path / entry["name"]).stat().st_size == entry["bytes"]


@pytest.mark.parametrize("stem", ["dense", "pruned"])
def test_keras_and_saved_model_accuracies_are_those_of_the_files(default, stem):
    directory, results, _ = default
    x, y = digits()
    model = keras.saving.load_model(directory / f"{stem}.keras")
    model.compile(metrics=[keras.metrics.SparseCategoricalAccuracy()])
    expected = model.evaluate(x, y, verbose=0, return_dict=True)["sparse_categorical_accuracy"]
    served = tf.saved_model.load(str(directory / stem)).signatures["serving_default"]
    (scores,) = served(tf.constant(x)).values()
    assert entries(results, stem, "keras")[0]["accuracy"] == pytest.approx(expected)
    found = entries(results, stem, "saved_model")[0]["accuracy"]
    assert found == pytest.approx(np.mean(np.argmax(scores, axis=1) == y))


def test_sizes_are_those_on_the_disk(default):
    directory, results, page = default
    for entry in [*results["dense_files"], *results["pruned_files"]]:
        path = directory / entry["name"]
        parts = sorted(path.rglob("*")) if path.is_dir() else [path]
        content = b"".join(part.read_bytes() for part in parts if part.is_file())
        assert entry["bytes"] == len(content)
        assert entry["gzip_bytes"] == len(gzip.compress(content, 9))
        assert f"{len(content):,}" in page
    assert entries(results, "dense", "keras")[0]["bytes"] < 1.2 * 4 * 50610  # no optimizer's state
    dense, pruned = (entries(results, stem, "tflite none")[0] for stem in ("dense", "pruned"))
    assert pruned["bytes"] < dense["bytes"] / 4  # zeros are stored sparsely by default


def test_the_dense_model_gets_as_many_epochs(default):
    _, results, page = default
    assert [each["epochs"] for each in results["dense"]] == [4, 10]
    assert results["pruned"]["epochs"] == 10
    best = max(each["accuracy"] for each in results["dense"])
    assert entries(results, "dense", "keras")[0]["accuracy"] == best
    assert f"{100 * (results['pruned']['accuracy'] - best):+.2f}" in page


def test_the_table_fits_and_shows_each_class(default):
    _, results, page = default
    table = [line for line in page.splitlines() if line.startswith(("|", "+"))]
    assert len(table) > 20 and max(map(len, page.split("written to")[0].splitlines())) <= 100
    for label, counts in results["kept_by_class"].items():
        (line,) = [line for line in table if f"weights kept, {label} " in line]
        cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
        factor = counts["size"] / counts["kept"]
        assert cells == [f"{counts['size']:,}", f"{counts['kept']:,}", f"{factor:.2f}x"]


def test_dropout_falls_with_the_connections(default):
    directory, _, _ = default
    model = keras.saving.load_model(directory / "pruned.keras")
    for units in (300, 100):
        kernel = np.asarray(model.get_layer(f"dense_{units}").kernel)
        expected = RECIPES["digits"].dropout * math.sqrt(np.count_nonzero(kernel) / kernel.size)
        assert model.get_layer(f"dropout_{units}").rate == pytest.approx(expected)


def test_steps_follow_the_schedule_and_end_fine_tuned(default):
    _, results, _ = default
    sparsity = [step["sparsity"] for step in results["steps"]]
    assert sparsity == pytest.approx(np.linspace(0.5, 0.9, 10), abs=1e-4)
    assert results["steps"][-1]["retrained"] == results["pruned"]["accuracy"]
    assert any(step["cut"] != step["retrained"] for step in results["steps"])


def test_results_hold_flags_and_versions(default):
    directory, results, _ = default
    assert results["flags"]["epochs"] == 4 and results["flags"]["seed"] == 0
    assert results["versions"]["keras"] == keras.__version__
    assert (directory / "accuracy.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_figure_shows_the_steps_and_the_dense_model():
    steps = [Step(0.5, 0.9, 0.97), Step(0.9, 0.6, 0.96)]
    (axes,) = figures.trade_off("title", steps, 0.98).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_allclose(lines["right after the cut"].get_xydata(), [[50, 10], [90, 40]])
    np.testing.assert_allclose(
        lines["retrained; the last, fine-tuned"].get_xydata(), [[50, 3], [90, 4]]
    )
    np.testing.assert_allclose(lines["dense, 2.00 %"].get_ydata(), 2)
    assert "%" in axes.get_xlabel() and "test error" in axes.get_ylabel()


def test_a_loaded_model_is_pruned_from_where_it_was(default, tmp_path, monkeypatch):
    directory, results, _ = default
    made = []

    def keep(model, *arguments):
        made.append(model.get_weights())
        return []

    monkeypatch.setattr(deployment, "write", keep)  # its files are tested above
    chosen = "--steps=2", "--final_sparsity=0.8", "--nodense_extra", "--noadjust_dropout"
    start = f"--load={directory / 'trained.keras'}"
    once, again = (run(tmp_path / each, start, *SHORT, *chosen) for each in ("once", "again"))
    assert once["dense"] == [{**results["dense"][0], "what": "loaded", "epochs": 0}]
    assert not (tmp_path / "once" / "trained.keras").exists()
    assert len(once["steps"]) == 3 and again["steps"] == once["steps"]
    loaded = keras.saving.load_model(directory / "trained.keras").get_weights()
    dense, first, _, second = made
    for weights, expected in ((dense, loaded), (second, first)):
        for one, other in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_choices_reach_the_library(idx, tmp_path):
    results = run(
        tmp_path,
        "--dataset=mnist",
        f"--data_dir={idx[0]}",
        "--model=lenet_5",
        *SHORT,
        "--batch_size=50",
        "--nodense_extra",
        "--quantization=none",
        "--schedule=polynomial_decay",
        "--initial_sparsity=0.1",
        "--final_sparsity=0.4",
        "--frequency=3",
        "--end_step=10",
        "--criterion=saliency",
        "--allocation=class_uniform",
        "--pattern=2:4",
        "--exclude=output",
        "--exclude=conv_20",
    )
    model = keras.saving.load_model(tmp_path / "pruned.keras")
    zeros = {name: np.mean(np.asarray(model.get_layer(name).kernel) == 0) for name in LAYERS}
    assert zeros == {
        "conv_20": 0,
        "conv_50": pytest.approx(0.4, abs=1e-3),
        "dense_500": pytest.approx(0.4, abs=1e-3),
        "output": 0,
    }
    assert {each["pattern"] for each in results["report"]["pruned"]} == {"nm(2, 4)"}
    # 1 - (1 - step / 10) ** 3 of the way at steps 0, 3, 6, 9 and 10.
    expected = [0.4 - 0.3 * (1 - step / 10) ** 3 for step in (0, 3, 6, 9, 10)]
    assert [s["sparsity"] for s in results["steps"]] == pytest.approx(expected, abs=1e-3)
    assert len(images.load("mnist", str(idx[0])).test[0]) == 100


LAYERS = "conv_20", "conv_50", "dense_500", "output"


NAMES = """
dataset data_dir model load output_dir epochs prune_epochs fine_tune_epochs dense_extra batch_size
learning_rate prune_learning_rate dropout l2 validation schedule initial_sparsity final_sparsity
steps frequency begin_step end_step criterion allocation pattern classes include exclude
adjust_dropout quantization sparse_tflite seed verbose
"""


def test_help_shows_every_flag():
    page = programs.run(SCRIPTS / PROGRAM, "--help", directory="/", good=False)
    defined = FLAGS.get_key_flags_for_module(options)
    assert {flag.name for flag in defined} == set(NAMES.split())
    for flag in defined:
        assert f"--{flag.name}:" in page or f"--[no]{flag.name}:" in page
        assert flag.help.split(">: ")[-1][0].isupper()
    assert "Traceback" not in page


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--final_sparsity=90", "Write final_sparsity=0.9"),
        ("--final_sparsity=1.0", "less than 1"),
        ("--pattern=4:2", "0 < n < m"),
        ("--pattern=blocks", "expected one of"),
        ("--allocation=class_blnd", "class_blind"),
        ("--criterion=magnitud", "magnitude"),
        ("--schedule=linear", "polynomial_decay"),
        ("--quantization=none,int4", "Write --quantization=none,int8"),
        ("--quantization=", "Write --quantization=none,int8"),
        ("--end_step=1.5", "fraction"),
        ("--frequency=often", "whole number of updates"),
        ("--epochs=0", "positive integer"),
        ("--seed=-1", "non-negative"),
    ],
)
def test_a_bad_flag_says_what_was_expected(flag, message):
    with flagsaver.flagsaver(), pytest.raises(flags.IllegalFlagValueError, match=message):
        FLAGS([PROGRAM, flag])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data_dir=/tmp"], "Write --dataset=mnist"),
        (["--dataset=mnist", "--data_dir=/nowhere"], "train-images-idx3-ubyte.gz"),
        (["--load=/nowhere.keras"], "expected a .keras file"),
        (["--epochs=1", "--prune_epochs=1", "--batch_size=1000"], "more --prune_epochs"),
        (["--begin_step=0.9", "--end_step=100"], "Write --end_step=1.0"),
    ],
)
def test_flags_that_do_not_fit_are_a_usage_error(arguments, message, tmp_path):
    with pytest.raises(app.UsageError, match=message):
        run(tmp_path, *arguments)
    assert not any(tmp_path.iterdir())


def test_a_model_of_other_images_is_refused(tmp_path):
    lenet.lenet_300_100((28, 28, 1)).save(tmp_path / "other.keras")
    with pytest.raises(app.UsageError, match=r"\(28, 28, 1\).*expected \(8, 8, 1\)"):
        run(tmp_path / "out", f"--load={tmp_path / 'other.keras'}")


def test_digits_are_split_once_for_all_and_by_class():
    found = images.load("digits")
    x, y = datasets.load_digits(return_X_y=True)
    assert found.train[0].shape == (1437, 8, 8, 1) and found.test[0].shape == (360, 8, 8, 1)
    both = np.concatenate([found.train[0], found.test[0]]).reshape(len(x), -1) * 16
    assert sorted(map(bytes, both.astype("u1"))) == sorted(map(bytes, x.astype("u1")))
    assert np.abs(np.bincount(found.test[1]) - 0.2 * np.bincount(y)).max() < 1
    assert found.train[0].dtype == np.float32 and found.train[0].max() == 1
    np.testing.assert_array_equal(images.load("digits").test[0], found.test[0])


def test_idx_files_hold_what_was_written(idx):
    directory, x, y = idx
    found = images.load("fashion_mnist", str(directory))
    np.testing.assert_allclose(found.train[0][..., 0], x[:300] / 255, rtol=1e-6)
    np.testing.assert_array_equal(found.train[1], y[:300])
    np.testing.assert_array_equal(found.test[1], y[300:400])
    held = images.hold_out(found, 0.25)
    np.testing.assert_array_equal(held.test[0], found.train[0][225:])
    np.testing.assert_array_equal(held.train[0], found.train[0][:225])


def test_idx_types_are_big_endian(tmp_path):
    values = np.array([[1, -2, 70000]], ">i4")
    content = bytes([0, 0, 12, 2]) + struct.pack(">2I", 1, 3) + values.tobytes()
    (tmp_path / "ints").write_bytes(content)
    np.testing.assert_array_equal(images.read_idx(tmp_path / "ints"), values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x08\x01\0\0\0\x05abc", "3 bytes of values; expected 5"),
        (b"\x89PNG\r\n", "expected an IDX file"),
        (b"", "expected an IDX file"),
        (b"\0\0\x08\x03\0\0", "bytes of values"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x01a", mtime=0)[:-12], "damaged gzip"),
    ],
)
def test_a_damaged_file_is_told_from_its_bytes(content, message, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        images.read_idx(tmp_path / "file")


def test_without_a_folder_keras_downloads(monkeypatch):
    x = np.full((4, 8, 8), 255, np.uint8)
    split = (x, np.arange(4, dtype=np.uint8)), (x[:2], np.arange(2, dtype=np.uint8))
    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", lambda: split)
    found = images.load("fashion_mnist")
    assert found.train[0].shape == (4, 8, 8, 1) and found.train[0].min() == 1
    np.testing.assert_array_equal(found.test[1], [0, 1])


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"MNIST's files are not in {MNIST}")
def test_mnist_is_read():
    found = images.load("mnist", str(MNIST))
    assert found.shape == (28, 28, 1) and found.classes == 10
    assert len(found.train[0]) == 60000 and len(found.test[0]) == 10000
    assert list(found.train[1][:6]) == [5, 0, 4, 1, 9, 2]


@pytest.mark.parametrize(("name", "parameters"), [("lenet_300_100", 266610), ("lenet_5", 431080)])
def test_networks_have_the_sizes_of_the_papers(name, parameters):
    assert lenet.MODELS[name]((28, 28, 1)).count_params() == parameters
    assert lenet.MODELS[name]((8, 8, 1), 7).output_shape == (None, 7)


def entries(results: dict, stem: str, format: str) -> list[dict]:
    """The entries of a format among the dense or the pruned files."""
    return [each for each in results[f"{stem}_files"] if each["format"] == format]
