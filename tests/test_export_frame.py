"""What every exporter shares: verified before it appears, one decision, custom objects."""

import dataclasses
import importlib
import os
import pathlib
import random

import keras
import numpy as np
import pairwise
import pytest
from test_export import network

import kprune
from kprune import export
from kprune.export import _frame, _keras_export, _verification
from kprune.export._compressed import archive, coding, verification
from kprune.export._tflite import conversion, trial
from kprune.export._tflite.format import encodings

layers = keras.layers
own = keras.saving.register_keras_serializable("kprune_test_export_frame")


# --- verified before it appears ----------------------------------------------------------------


def lose_the_first_value(array):
    changed = np.array(array)
    changed.reshape(-1)[:1] = 0
    return ENCODE(changed)


ENCODE = coding.encode


def test_a_compressed_file_of_a_defective_encoder_does_not_appear(tmp_path, monkeypatch):
    model, path = network(zeros=0.0), tmp_path / "there" / "model.kprune"
    monkeypatch.setattr(coding, "encode", lose_the_first_value)
    with pytest.raises(export.ExportError, match="kernel comes back changed"):
        export.save_compressed(model, path)
    assert os.listdir(tmp_path) == []
    monkeypatch.undo()
    export.save_compressed(model, path)
    before = path.read_bytes()
    monkeypatch.setattr(coding, "encode", lose_the_first_value)
    with pytest.raises(export.ExportError):
        export.save_compressed(model, path)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def lost_layer(contents):
    contents.config["config"]["layers"].pop()


def lost_tensor(contents):
    contents.tensors.pop()


def other_bits(contents):
    contents.tensors[0].array.reshape(-1).view("uint8")[0] ^= 1


@pytest.mark.parametrize("spoil", [lost_layer, lost_tensor, other_bits])
def test_what_is_read_back_is_compared_with_the_model(tmp_path, monkeypatch, spoil):
    """Defects between the model and the bytes: in Keras's archive, or in the way it is unpacked."""
    model, unpack = network(), archive.unpack

    def unpack_wrongly(model):
        contents = unpack(model)
        spoil(contents)
        return contents

    monkeypatch.setattr(archive, "unpack", unpack_wrongly)
    with pytest.raises(export.ExportError, match="was not written"):
        export.save_compressed(model, tmp_path / "model.kprune")
    assert os.listdir(tmp_path) == []


@own
class Forgetful(keras.layers.Layer):
    """A layer whose config leaves an argument out."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        """A multiple."""
        return self.factor * inputs

    def get_config(self):
        """Without the factor."""
        return super().get_config()


def test_a_config_that_does_not_load_again_is_an_error(tmp_path):
    model = keras.Sequential([keras.Input((4,)), Forgetful(2.0), layers.Dense(3)])
    with pytest.raises(export.ExportError, match="cannot make the model again.*factor"):
        export.save_compressed(model, tmp_path / "model.kprune")
    assert os.listdir(tmp_path) == []


class Wrong(_frame.Format):
    """A format that no model agrees with."""

    def convert(self, model, paths):
        """Nothing."""

    def encode(self, converted, paths):
        """Writes the file."""
        paths.written.write_text("wrong")

    def verify(self, model, converted, encoded, paths):
        """Refuses it."""
        assert paths.written.read_text() == "wrong"
        raise _verification.ExportError("wrong")

    def measure(self, converted, encoded, paths):
        """Is not reached."""
        pytest.fail("measured what is wrong")

    report = measure


def test_a_format_that_does_not_verify_writes_nothing(tmp_path):
    path, model = tmp_path / "model", kprune.wrap(network())
    path.write_text("before")
    with pytest.raises(export.ExportError, match="wrong"):
        _frame.export(model, path, Wrong())
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["model"]
    assert kprune.report(model).pruned


def test_saving_changes_nothing_of_what_comes_after(tmp_path):
    """The model that is made to verify the file takes no names and no random numbers."""
    drawn = []
    for save in (False, True):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dropout(0.1)])
        model.compile("adam", "mse", metrics=["mae"])
        if save:
            export.save_compressed(model, tmp_path / "model.kprune")
        later = layers.Dense(3)
        later.build((None, 4))
        drawn.append((later.name, keras.optimizers.Adam().name, random.random(), later.kernel))
    for one, other in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one, other)


# --- custom objects ----------------------------------------------------------------------------


class OwnLoss(keras.losses.Loss):
    """A loss of one's own."""

    def call(self, y_true, y_pred):
        """Squares."""
        return keras.ops.mean((y_true - y_pred) ** 2, -1)


class OwnMetric(keras.metrics.Mean):
    """A metric of one's own."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        """The mean output."""
        return super().update_state(y_pred)


class OwnOptimizer(keras.optimizers.SGD):
    """An optimizer of one's own."""


class OwnRegularizer(keras.regularizers.Regularizer):
    """A regularizer of one's own."""

    def __call__(self, x):
        """A hundredth."""
        return 0.01 * keras.ops.sum(x)

    def get_config(self):
        """Nothing to say."""
        return {}


class OwnInitializer(keras.initializers.Initializer):
    """An initializer of one's own."""

    def __call__(self, shape, dtype=None):
        """Halves."""
        return keras.ops.full(shape, 0.5, dtype)


class OwnLayer(layers.Dense):
    """A layer of one's own."""


class Outer(layers.Wrapper):
    """A layer of one's own around another."""

    def call(self, inputs):
        """As the layer inside."""
        return self.layer(inputs)


def activation(x):
    """An activation of one's own."""
    return 2 * x


def loss_function(y_true, y_pred):
    """A loss function of one's own."""
    return keras.ops.mean(keras.ops.abs(y_true - y_pred), -1)


@own
def registered_loss(y_true, y_pred):
    """A loss function that Keras knows."""
    return keras.ops.mean(keras.ops.abs(y_true - y_pred), -1)


def mlp(layer=None, **compiled):
    model = keras.Sequential([keras.Input((4,)), layer or layers.Dense(3)])
    model.compile(**{"optimizer": "adam", "loss": "mse", **compiled})
    return model


CUSTOM = {
    "loss": (lambda: mlp(loss=OwnLoss()), {"OwnLoss": OwnLoss}),
    "loss function": (lambda: mlp(loss=loss_function), {"loss_function": loss_function}),
    "loss in a list": (lambda: mlp(loss=[OwnLoss()]), {"OwnLoss": OwnLoss}),
    "metric": (lambda: mlp(metrics=[OwnMetric(name="own")]), {"OwnMetric": OwnMetric}),
    "metric function": (
        lambda: mlp(metrics=["mae", loss_function]),
        {"loss_function": loss_function},
    ),
    "optimizer": (lambda: mlp(optimizer=OwnOptimizer(0.1)), {"OwnOptimizer": OwnOptimizer}),
    "loss scaling": (
        lambda: mlp(optimizer=keras.optimizers.LossScaleOptimizer(OwnOptimizer(0.1))),
        {"OwnOptimizer": OwnOptimizer},
    ),
    "regularizer": (
        lambda: mlp(layers.Dense(3, kernel_regularizer=OwnRegularizer())),
        {"OwnRegularizer": OwnRegularizer},
    ),
    "initializer": (
        lambda: mlp(layers.Dense(3, kernel_initializer=OwnInitializer())),
        {"OwnInitializer": OwnInitializer},
    ),
    "activation": (lambda: mlp(layers.Dense(3, activation)), {"activation": activation}),
    "layer": (lambda: mlp(OwnLayer(3)), {"OwnLayer": OwnLayer}),
    "nested": (
        lambda: mlp(
            Outer(Outer(OwnLayer(3, activation))), loss=loss_function, optimizer=OwnOptimizer(0.1)
        ),
        {
            "Outer": Outer,
            "OwnLayer": OwnLayer,
            "activation": activation,
            "loss_function": loss_function,
            "OwnOptimizer": OwnOptimizer,
        },
    ),
}


@pytest.mark.parametrize("case", CUSTOM)
def test_custom_objects_are_loaded(case, tmp_path):
    make, objects = CUSTOM[case]
    model, path = make(), tmp_path / "model.kprune"
    x, y = np.ones((8, 4), "float32"), np.zeros((8, 3), "float32")
    export.save_compressed(model, path)
    loaded = export.load_compressed(path, custom_objects=objects)
    assert [type(each) for each in loaded.layers] == [type(each) for each in model.layers]
    assert type(loaded.optimizer) is type(model.optimizer)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0))
    with keras.saving.custom_object_scope(objects):
        assert export.load_compressed(path).compiled
    with pytest.raises(ValueError, match="custom_objects="):
        export.load_compressed(path)
    found = verification.find_custom_objects(model)
    assert {name: found[name] for name in objects} == objects


def test_what_is_registered_needs_no_custom_objects(tmp_path):
    model, path = mlp(loss=registered_loss), tmp_path / "model.kprune"
    export.save_compressed(model, path)
    assert export.load_compressed(path).loss is registered_loss


def test_a_loss_is_not_asked_for_where_nothing_is_compiled(tmp_path):
    export.save_compressed(mlp(loss=OwnLoss()), tmp_path / "model.kprune")
    assert not export.load_compressed(tmp_path / "model.kprune", compile=False).compiled


# --- one decision for `check` and `to_tflite` --------------------------------------------------


def matrices():
    return keras.Sequential(
        [keras.Input((512,)), layers.Dense(512, "relu"), layers.Dense(514), layers.Dense(32)]
    )


def convolutions():
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(32, 3, 2, activation="relu6")(layers.ZeroPadding2D(1)(image))
    x = layers.DepthwiseConv2D(3, padding="same")(layers.Conv2D(64, 1)(x))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(48, 1)(x))
    return keras.Model(image, layers.Dense(64)(x))


PATTERNS = {"dense": None, "unstructured": "unstructured", "blocks of 4": "tflite_float32"}
PATTERNS["blocks of 16"] = "tflite_dynamic"


BUILDS = [matrices, convolutions]


@pytest.mark.parametrize(
    ("build", "pattern"),
    pairwise.quick_or_slow([(convolutions, "blocks of 4")], BUILDS, PATTERNS),
)
def test_check_says_what_to_tflite_writes(build, pattern, tmp_path, monkeypatch):
    """In every precision and for every target; converted once each, and not run."""
    model, converted = build(), {}
    if PATTERNS[pattern]:
        kprune.wrap(model, pattern=PATTERNS[pattern])
        kprune.prune(model, 0.92, allocation="class_uniform")
        kprune.strip(model)
    convert, write = conversion.Conversion.convert, _keras_export.write_saved_model
    saved = str(tmp_path / "saved")

    def write_once(model, path, signature):
        if not os.path.exists(saved):
            write(model, saved, signature)

    def convert_once(self):
        key = self.quantization, self.path == "model.tflite"  # as `check` calls it
        if key not in converted:
            converted[key] = convert(dataclasses.replace(self, directory=saved))
        return converted[key]

    def run(file, runs, runtime="tensorflow", xnnpack=True):
        outputs = [{"output_0": np.asarray(model(*each.values()))} for each in runs]
        return trial.Run(outputs, 0.0, None)

    monkeypatch.setattr(_keras_export, "write_saved_model", write_once)
    monkeypatch.setattr(conversion.Conversion, "convert", convert_once)
    monkeypatch.setattr(trial, "run", run)
    data = np.random.default_rng(0).standard_normal((8, *model.input_shape[1:]), "float32")
    compared, stored = 0, set()
    for quantization in (None, "float16", "dynamic", "int8"):
        for target in ("size", "x86", "arm"):
            path, aim = tmp_path / "model.tflite", {"target": target, "batch_size": 1}
            promised = export.check(model, quantization=quantization, sparsity=0.0, **aim)
            written = export.to_tflite(model, path, quantization, data, timing_seconds=0, **aim)
            tensors = {each.name: each for each in written.tensors}
            for weight in promised.weights:
                tensor = tensors[weight.name]
                assert weight.encoding == tensor.encoding
                assert weight.bytes == tensor.bytes
                assert weight.dense_bytes == tensor.dense_bytes
                assert weight.zeros == tensor.sparsity
                assert (weight.shape, weight.reader) == (tensor.shape, tensor.reader)
                if tensor.reason is not None:
                    assert weight.larger == tensor.reason
                assert (weight.larger is None) == (tensor.encoding != encodings.DENSE)
                if tensor.encoding == encodings.NATIVE:
                    assert weight.slower is None
                compared += 1
                stored.add(tensor.encoding)
    assert compared >= 24
    assert stored >= ({encodings.DENSE} if PATTERNS[pattern] is None else {encodings.DENSIFIED})
    if build is matrices and pattern.startswith("blocks"):
        assert encodings.NATIVE in stored


def test_what_check_assumes_is_what_its_pattern_gives(tmp_path):
    """A model without zeros: follow the condition, and get the promised file."""
    model = matrices()
    promised = export.check(model, "x86", sparsity=0.92, batch_size=1)
    fast = next(each for each in promised.weights if each.slower is None)
    assert 'pattern="tflite_float32"' in fast.condition
    kprune.wrap(model, include=fast.name, pattern="tflite_float32")
    kprune.prune(model, 0.92)
    report = export.to_tflite(
        model, tmp_path / "model.tflite", target="x86", batch_size=1, timing_seconds=0
    )
    (tensor,) = [each for each in report.tensors if each.name == fast.name]
    assert tensor.encoding == fast.encoding == encodings.NATIVE
    assert tensor.bytes == pytest.approx(fast.bytes, rel=0.01)


def test_check_of_a_file_that_is_sparse_in_part(tmp_path):
    """What has zeros is taken as it is stored; of the rest zeros are assumed."""
    model, path = matrices(), tmp_path / "model.tflite"
    kprune.wrap(model, include=f"^{model.layers[0].kernel.path}$")
    kprune.prune(model, 0.7)
    export.to_tflite(model, path, timing_seconds=0)
    found = {each.shape: each for each in export.check(path, sparsity=0.8).weights}
    assert found[512, 512].zeros == pytest.approx(0.7, abs=1e-3)
    assert found[514, 512].zeros == pytest.approx(0.8, abs=1e-3)
    assert all(each.encoding == encodings.DENSIFIED for each in found.values())


# --- what is public ----------------------------------------------------------------------------


def test_the_package_has_what_its_public_modules_list():
    files = pathlib.Path(export.__file__).parent.glob("[!_]*.py")
    modules = [importlib.import_module(f"kprune.export.{file.stem}") for file in files]
    assert {each.__name__.split(".")[-1] for each in modules} == {
        "saved_model",
        "tflite",
        "compressed",
    }
    for module in modules:
        for name in module.__all__:
            assert name in export.__all__ and getattr(export, name) is getattr(module, name)
    assert all(getattr(export, name).__doc__ for name in export.__all__)


# --- not a number ------------------------------------------------------------------------------

WRITERS = {
    "tflite": lambda model, path: export.to_tflite(model, path, timing_seconds=0),
    "saved model": export.to_saved_model,
    "compressed": export.save_compressed,
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_weight_that_is_no_number_is_named(tmp_path, writer, value):
    model = network(zeros=0.5)
    kernel = next(each for each in model.weights if each.path.endswith("kernel"))
    values = kernel.numpy()
    values.flat[-1] = value
    kernel.assign(values)
    with pytest.raises(
        export.ExportError, match=f"1 of the .* values of {kernel.path} are infinite"
    ):
        WRITERS[writer](model, tmp_path / "there" / "model")
    assert os.listdir(tmp_path) == []


@keras.saving.register_keras_serializable("kprune_test_export_frame")
class Root(layers.Layer):
    """The square root of what is below zero: not a number for every input."""

    def call(self, x):
        return keras.ops.sqrt(-1.0 - keras.ops.abs(x))


@pytest.mark.parametrize("writer", ["tflite", "saved model"])
def test_outputs_that_are_never_numbers_are_not_verified(tmp_path, writer):
    """One output of two is compared, the other one never is."""
    x = keras.Input((16,))
    model = keras.Model(x, {"fine": layers.Dense(4)(x), "root": Root()(x)})
    with pytest.raises(export.ExportError, match="every value of output 'root'"):
        WRITERS[writer](model, tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_single_values_that_are_no_numbers_are_compared():
    """As `log` of an input that may be negative: agreement is that both are not a number."""
    one, other = ({"y": np.array(values)} for values in ([np.nan, 1.0], [1.0, np.nan]))
    nothing = {"y": np.array([np.nan, np.nan])}
    assert _verification.agree([one], [one], 0.1, "itself").largest == 0.0
    assert _verification.agree([nothing, one], [nothing, one], 0.1, "itself").largest == 0.0
    with pytest.raises(export.ExportError, match="inf away"):
        _verification.agree([one], [other], 0.1, "another")
