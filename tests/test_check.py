"""What `check` promises before training is what the files and their rules give."""

import json
import pathlib

import keras
import numpy as np
import programs
import pytest

import kprune
from kprune import export

layers = keras.layers
PROGRAM = pathlib.Path(__file__).parent.parent / "scripts" / "export_tflite.py"


def mobile(padding="valid", first=3, activation="relu6", size=32, convolutional=False):
    """A stem, an inverted residual block and a head, in the shape of MobileNetV2."""
    image = keras.Input((size, size, first))
    pad = layers.ZeroPadding2D(1) if padding == "valid" else layers.Identity()
    x = layers.Conv2D(32, 3, 2, padding=padding, activation=activation)(pad(image))
    y = layers.Conv2D(64, 1, activation=activation)(x)
    y = layers.DepthwiseConv2D(3, padding="same", activation=activation)(y)
    x = layers.Add()([x, layers.Conv2D(32, 1)(y)])
    x = layers.Conv2D(128, 1, activation=activation)(x)
    if convolutional:
        x = layers.Conv2D(10, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
        return keras.Model(image, layers.Flatten()(x))
    return keras.Model(image, layers.Dense(1000)(layers.GlobalAveragePooling2D()(x)))


def pointwise(report):
    return [
        each for each in report.weights if each.reader == "CONV_2D" and each.shape[1:3] == (1, 1)
    ]


def test_bytes_are_those_of_the_file(tmp_path):
    model = keras.Sequential(
        [keras.Input((300,)), layers.Dense(200, activation="relu"), layers.Dense(100)]
    )
    promised = export.check(model, sparsity=0.8)
    kprune.wrap(model)
    kprune.prune(model, 0.8, allocation="class_uniform")
    written = export.to_tflite(model, tmp_path / "model.tflite", timing_seconds=0)
    actual = {each.shape: each.bytes for each in written.tensors if len(each.shape) == 2}
    for weight in promised.weights:
        assert weight.bytes == pytest.approx(actual[weight.shape], rel=0.01)
        assert weight.larger is None
    found = export.check(tmp_path / "model.tflite")  # of the file itself, zeros as they are
    assert {each.shape: each.bytes for each in found.weights} == actual
    assert all(each.zeros == pytest.approx(0.8, abs=0.01) for each in found.weights)


def test_a_keras_file_is_checked_too(tmp_path):
    model = keras.Sequential([keras.Input((64,)), layers.Dense(64)])
    model.save(tmp_path / "model.keras")
    report = export.check(tmp_path / "model.keras", "x86", "dynamic", batch_size=1)
    assert "fewer than 262,144 weights" in report.weights[0].slower
    assert "XNNPACK" in report.weights[0].larger


@pytest.mark.parametrize(
    ("target", "quantization", "fast"),
    [("x86", None, True), ("arm", None, True), ("x86", "dynamic", True), ("x86", "int8", False)],
)
def test_matrices(target, quantization, fast):
    model = keras.Sequential([keras.Input((512,)), layers.Dense(512), layers.Dense(514)])
    report = export.check(model, target, quantization, batch_size=1)
    by_shape = {each.shape: each for each in report.weights}
    assert (by_shape[512, 512].slower is None) == fast
    if fast:
        name = "tflite_dynamic" if quantization else "tflite_float32"
        assert f'pattern="{name}"' in by_shape[512, 512].condition
    text = str(report)
    assert text.isascii() and max(map(len, text.splitlines())) <= 100
    assert json.loads(json.dumps(report.to_dict()))["target"] == target


def test_convolutions_on_arm():
    for found in pointwise(export.check(mobile(), "arm")):
        assert found.slower is None and "two thirds" in found.condition
    (reason,) = {each.slower for each in pointwise(export.check(mobile(), "arm", sparsity=0.65))}
    assert "65% zeros" in reason
    (reason,) = {each.slower for each in pointwise(export.check(mobile(), "x86"))}
    assert "x86" in reason
    (reason,) = {each.slower for each in pointwise(export.check(mobile(first=4), "arm"))}
    assert "not start with" in reason or "no kernel" in reason
    (reason,) = {each.slower for each in pointwise(export.check(mobile(activation="gelu"), "arm"))}
    assert "no kernel in that layout" in reason


def test_same_padding_is_told_with_its_remedy():
    model = mobile("same")
    (reason,) = {each.slower for each in pointwise(export.check(model, "arm"))}
    assert 'padding="same"' in reason and "kprune.export.symmetric_padding" in reason
    better = kprune.export.symmetric_padding(model)
    assert {each.slower for each in pointwise(export.check(better, "arm"))} == {None}
    # The converter writes symmetric padding of an odd size as "same" again.
    (reason,) = {each.slower for each in pointwise(export.check(mobile(size=33), "arm"))}
    assert "even size" in reason


def test_a_file_that_would_not_load_on_arm_stays_dense(tmp_path):
    """As MobileNet (V1) ends; seen on the emulated phone, which a test does not need."""
    model, path = mobile(convolutional=True), tmp_path / "model.tflite"
    reasons = {each.slower for each in pointwise(export.check(model, "arm"))}
    assert any("is read by CONV_2D" in each for each in reasons)
    assert all("would not load" in each.larger for each in export.check(model, "arm").weights)
    promised = export.check(model, sparsity=0.6)
    assert all("would not load" not in (each.larger or "") for each in promised.weights)
    kprune.wrap(model, include=lambda variable: tuple(variable.shape[:2]) == (1, 1))
    kprune.prune(model, 0.6)
    sparse = export.to_tflite(model, path, timing_seconds=0)
    assert sparse.bytes < sparse.dense_bytes  # below two thirds nothing is laid out anew
    kprune.prune(model, 0.9)
    report = export.to_tflite(model, path, timing_seconds=0)
    assert report.bytes == report.dense_bytes
    assert all("would not load" in each.reason for each in report.tensors if each.sparsity > 0.5)


def test_a_loop_that_would_kill_the_calibration_is_told():
    model = keras.Sequential([keras.Input((5, 8)), layers.LSTM(16)])
    with pytest.raises(export.ExportError, match="crashes the process"):
        export.check(model, quantization="int8")


def test_arguments_are_checked():
    model = keras.Sequential([keras.Input((64,)), layers.Dense(64)])
    with pytest.raises(ValueError, match=r"expected \"size\", \"x86\" or \"arm\""):
        export.check(model, "phone")
    with pytest.raises(ValueError, match="sparsity"):
        export.check(model, sparsity=1.5)
    with pytest.raises(TypeError, match=r"expected a keras\.Model"):
        export.check(3)


def test_program(tmp_path):
    model = keras.Sequential([keras.Input((64,)), layers.Dense(96, "relu"), layers.Dense(10)])
    kprune.wrap(model)
    kprune.prune(model, 0.9)
    kprune.strip(model).save(tmp_path / "model.keras")
    x = np.random.default_rng(0).standard_normal((16, 64)).astype("float32")
    np.savez(tmp_path / "calibration.npz", x=x)
    arguments = [f"--model={tmp_path}/model.keras", f"--output={tmp_path}/out"]
    page = programs.run(PROGRAM, *arguments, f"--calibration={tmp_path}/calibration.npz")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report.keys() == {"float32", "float16", "dynamic", "int8", "refused"}
    for name in ("float32", "float16", "dynamic", "int8"):
        size = (tmp_path / "out" / f"{name}.tflite").stat().st_size
        assert size == report[name]["bytes"] <= report[name]["dense_bytes"]
        assert f"{size:,}" in page
    page = programs.run(PROGRAM, *arguments, "--check_only", "--target=x86")
    assert page.count('target="x86"') == 3 and "262,144" in page
    assert "Write --help" in programs.run(PROGRAM, "surplus", good=False)
