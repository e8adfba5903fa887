"""What is exported computes what the model computes, stores zeros sparsely, or does not appear."""

import dataclasses
import gzip
import json
import os
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import kprune
from kprune import export
from kprune._support import tables
from kprune.export import _keras_export, _verification
from kprune.export._inputs import examples, inspection
from kprune.export._tflite import conversion, interpreter, interpreter_process, trial
from kprune.export._tflite.format import encodings

layers = keras.layers

EVEN = 64  # a width that blocks of 4 and 16 divide


@keras.saving.register_keras_serializable("kprune_test_export")
class Tokens(keras.Model):
    """A subclassed model of integers, whose type Keras does not remember."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(50, 8)
        self.dense = layers.Dense(8)

    def call(self, tokens):
        """Mean of the embeddings, then a layer."""
        return self.dense(keras.ops.mean(self.embedding(tokens), axis=1))


class Named(keras.Model):
    """A subclassed model of a dict to a dict."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.left, self.right = layers.Dense(8), layers.Dense(4)

    def call(self, inputs, training=False):
        """A layer for each input."""
        return {"one": self.left(inputs["b"]), "two": self.right(inputs["a"])}


class Pair(keras.Model):
    """A subclassed model of two arguments."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(8)

    def call(self, x, y):
        """A layer of one, and the other."""
        return self.dense(x) + y


def sparsified(model, zeros=0.8, block=1, seed=0):
    """Gives kernels and embeddings random values in blocks along their first axis."""
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        if variable.path.endswith(("kernel", "embeddings")):
            first, *rest = variable.shape
            kept = random.random((-(-first // block), *rest)) >= zeros
            values = random.normal(0.0, first**-0.5, variable.shape)
            variable.assign(values * np.repeat(kept, block, axis=0)[:first])
    return model


def network(width=EVEN, zeros=0.8, block=1, hidden=48, outputs=16):
    """Two dense layers with zeros in blocks."""
    return sparsified(
        keras.Sequential(
            [
                keras.Input((width,), name="features"),
                layers.Dense(hidden, activation="relu"),
                layers.Dense(outputs),
            ]
        ),
        zeros,
        block,
    )


def called(model, *inputs):
    model(*inputs)
    return model


def convolutional():
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(16, 3, activation="relu")(inputs)
    x = layers.DepthwiseConv2D(3)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def attentive():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(30, 16)(tokens)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(x, x)])
    return keras.Model(tokens, layers.Dense(8)(layers.GlobalAveragePooling1D()(x)))


def recurrent(unroll=False):
    tokens = keras.Input((5,), dtype="int32")
    x = layers.LSTM(8, unroll=unroll)(layers.Embedding(20, 8)(tokens))
    return keras.Model(tokens, layers.Dense(8)(x))


def lists():
    a, b = keras.Input((4,), name="a"), keras.Input((8,), name="b")
    return keras.Model([b, a], [layers.Dense(4)(a), layers.Dense(8)(b)])


def dicts():
    a, b = keras.Input((4,), name="x-1"), keras.Input((8,), name="b")
    return keras.Model({"x-1": a, "b": b}, {"o": layers.Dense(4)(a), "k": layers.Dense(8)(b)})


def nested():
    inner = keras.Sequential([layers.Dense(16, activation="relu"), layers.Dense(8)])
    return keras.Sequential([keras.Input((8,)), inner, layers.Dense(4)])


def free_length():
    tokens = keras.Input((None,), dtype="int32")
    return keras.Model(
        tokens, layers.Dense(4)(layers.GlobalAveragePooling1D()(layers.Embedding(20, 8)(tokens)))
    )


MODELS = {
    "sequential": network,
    "convolutional": convolutional,
    "attentive": attentive,
    "recurrent": recurrent,
    "lists": lists,
    "dicts": dicts,
    "nested": nested,
    "free length": free_length,
    "subclassed tokens": lambda: called(Tokens(), np.zeros((2, 7), "int32")),
    "subclassed dict": lambda: called(
        Named(), {"a": np.zeros((2, 8), "float32"), "b": np.zeros((2, 4), "float32")}
    ),
}


def interpret(path, *inputs):
    """Runs a .tflite file without kprune; outputs in the order of their names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf.lite announces its move to LiteRT
        runner = tf.lite.Interpreter(model_path=str(path)).get_signature_runner()
    names = sorted(runner.get_input_details())
    outputs = runner(**dict(zip(names, inputs, strict=True)))
    return [outputs[name] for name in sorted(outputs)]


def flat(outputs):
    return [np.asarray(each) for each in keras.tree.flatten(outputs)]


@pytest.fixture(params=MODELS)
def model(request):
    return sparsified(MODELS[request.param]())


def test_saved_model_computes_what_the_model_computes(model, tmp_path):
    report = export.to_saved_model(model, tmp_path / "saved")
    signature = inspection.find_signature(model)
    inputs = signature.pack(signature.draw(np.random.default_rng(1), 2))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    outputs = loaded.serve(*keras.tree.map_structure(tf.convert_to_tensor, inputs))
    for ours, theirs in zip(flat(outputs), flat(model(*inputs)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert report.max_difference < 1e-5
    assert report.bytes == sum(
        each.stat().st_size for each in (tmp_path / "saved").rglob("*") if each.is_file()
    )


def test_tflite_computes_what_the_model_computes(model, tmp_path):
    path = tmp_path / "model.tflite"
    report = export.to_tflite(model, path)
    signature = inspection.find_signature(model)
    drawn = signature.draw(np.random.default_rng(1), 1)
    by_name = [array for _, array in sorted(signature.names(drawn).items())]
    expected = model(*signature.pack(drawn), training=False)
    if isinstance(expected, dict):
        expected = [expected[key] for key in sorted(expected)]
    for ours, theirs in zip(interpret(path, *by_name), flat(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert report.max_difference <= report.tolerance
    assert report.bytes <= report.dense_bytes
    zeros = [each for each in report.tensors if each.sparsity > 0.1]
    assert all(each.encoding != "dense" or each.reason for each in zeros)  # some are too small
    assert report.batch_size == (1 if "lstm" in str([each.name for each in model.layers]) else None)


@pytest.mark.parametrize(
    ("quantization", "sparse", "weights"),
    [
        ("float16", True, "float16"),
        ("dynamic", False, "int8"),
        ("int8", True, "int8"),
        ("int16x8", True, "int8"),
    ],
)
def test_quantized_files_compute_about_what_the_model_computes(
    tmp_path, quantization, sparse, weights
):
    model, path = network(outputs=32), tmp_path / "model.tflite"
    x = np.random.default_rng(0).standard_normal((64, EVEN), "float32")
    report = export.to_tflite(model, path, quantization, x, sparse=sparse)
    expected = np.asarray(model(x[:1]))
    (ours,) = interpret(path, x[:1])
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=0.05 * np.abs(expected).max())
    assert {each.dtype for each in report.tensors if len(each.shape) == 2} == {weights}
    assert report.quantization == quantization


def test_a_dense_file_has_dense_tensors_with_zeros(tmp_path):
    model, path = network(), tmp_path / "model.tflite"
    report = export.to_tflite(model, path, sparse=False)
    matrices = [each for each in report.tensors if len(each.shape) == 2]
    assert {each.encoding for each in matrices} == {encodings.DENSE}
    kernels = [np.asarray(each) for each in model.trainable_variables[::2]]
    assert sorted(each.sparsity for each in matrices) == pytest.approx(
        sorted(np.mean(kernel == 0) for kernel in kernels)
    )
    assert report.dense_bytes is None


@pytest.fixture
def children(monkeypatch):
    """The processes of interpreters that a test starts."""
    started = {}
    monkeypatch.setattr(interpreter_process, "_processes", started)
    yield started
    for child in started.values():
        child.end()


FATAL = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import interpreter

run = interpreter.run
def fatal(*arguments):
    exec(open({death!r}).read())
    return run(*arguments)
interpreter.run = fatal
interpreter.serve(sys.argv[1])
"""
DEATHS = {
    "os.kill(os.getpid(), signal.SIGSEGV)": "crashed on this file .SIGSEGV",
    "os.write(2, b'bad news' + bytes([10])); os._exit(1)": "cannot run this file .bad news",
    "os._exit(1)": "cannot run this file .no message",
    "raise ValueError('of no use')": "cannot run this file .ValueError: of no use",
}


def test_an_interpreter_that_dies_is_an_error_and_no_crash(tmp_path, monkeypatch, children):
    """The process that was asked goes on, and the next file is run as if nothing had been."""
    death, program = tmp_path / "death.py", tmp_path / "program.py"
    folder = os.path.dirname(interpreter.__file__)
    program.write_text(FATAL.format(folder=folder, death=str(death)))
    death.write_text("")
    monkeypatch.setattr(interpreter, "__file__", str(program))
    model, path = network(), tmp_path / "model.tflite"
    export.to_tflite(model, path)
    content, ids = path.read_bytes(), {key: each.process.pid for key, each in children.items()}
    x = [{"features": np.ones((2, EVEN), "float32")}]
    expected = trial.run(path, x).outputs[0]["output_0"]
    for runtime in trial.runtimes():
        for statement, message in DEATHS.items():
            death.write_text(statement)
            with pytest.raises(export.ExportError, match=message):
                trial.run(path, x, runtime)
    with pytest.raises(export.ExportError, match="of no use"):
        export.to_tflite(model, path)
    assert sorted(os.listdir(tmp_path)) == ["death.py", "model.tflite", "program.py"]
    assert path.read_bytes() == content
    death.write_text("")
    np.testing.assert_array_equal(trial.run(path, x).outputs[0]["output_0"], expected)
    assert {key: each.process.pid for key, each in children.items()} == ids


def test_a_process_that_has_ended_is_started_again(tmp_path, children):
    path = tmp_path / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network()).convert())
    x = [{"features": np.ones((1, EVEN), "float32")}]
    expected = trial.run(path, x).outputs[0]["output_0"]
    for end in (lambda child: child.process.kill(), lambda child: child.end()):
        (ended,) = children.values()
        end(ended)
        ended.process.wait()
        np.testing.assert_array_equal(trial.run(path, x).outputs[0]["output_0"], expected)
        assert ended not in children.values()


@pytest.mark.parametrize("death", ["os.kill(os.getpid(), signal.SIGSEGV)", "sys.exit(0)"])
def test_an_interpreter_that_cannot_be_loaded_is_told(tmp_path, monkeypatch, children, death):
    program = tmp_path / "program.py"
    program.write_text(f"import os, signal, sys; {death}")
    monkeypatch.setattr(interpreter, "__file__", str(program))
    with pytest.raises(export.ExportError, match="SIGSEGV" if "kill" in death else "no message"):
        trial.run(tmp_path / "model.tflite", [])


@pytest.mark.parametrize("runtime", trial.RUNTIMES)
def test_memory_and_outputs_do_not_depend_on_earlier_files(tmp_path, children, runtime):
    """What a fresh process measures, after a file that is far larger."""
    files, size = {}, {256: 4 * 256 * 512, 2048: 4 * 2048 * 1024}
    for width, hidden in ((256, 512), (2048, 1024)):
        model = network(width, hidden=hidden, outputs=1)
        files[width] = tmp_path / f"{width}.tflite"
        files[width].write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())

    def measured(width):
        return trial.run(files[width], [{"features": np.ones((1, width), "float32")}], runtime)

    first, large, again = measured(256), measured(2048), measured(256)
    assert large.peak_bytes > size[2048]
    # Linux counts pages in batches, so a few hundred kilobytes come and go.
    assert again.peak_bytes == pytest.approx(first.peak_bytes, abs=size[2048] / 10)
    assert size[256] < again.peak_bytes < size[2048] / 2
    np.testing.assert_array_equal(first.outputs[0]["output_0"], again.outputs[0]["output_0"])


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc, of Linux")
@pytest.mark.parametrize("busy", [False, True])
def test_processes_end_with_the_one_that_started_them(tmp_path, children, busy):
    """Its end closes their stdin, whatever it died of; a file that is being run ends too."""
    path = tmp_path / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network()).convert())
    x = {"features": np.ones((1, EVEN), "float32")}
    trial.run(path, [x])
    (child,) = children.values()
    pid, below = child.process.pid, []
    if busy:
        np.savez(tmp_path / "inputs.npz", **{"0/features": x["features"]})
        request = ["race", str(tmp_path / "inputs.npz"), 60, 1, str(path)]
        child.process.stdin.write(json.dumps(request) + "\n")
        child.process.stdin.flush()
        while not below:
            below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    child.process.stdin.close()
    assert child.process.wait(timeout=20) == 0
    assert not any(Path(f"/proc/{each}").exists() for each in below)


def test_calibration_that_would_kill_the_process_is_refused(tmp_path):
    tokens = np.zeros((4, 5), "int32")
    with pytest.raises(export.ExportError, match="crashes the process"):
        export.to_tflite(recurrent(), tmp_path / "model.tflite", "int8", tokens)
    unrolled = recurrent(unroll=True)  # what the message offers
    export.to_tflite(unrolled, tmp_path / "model.tflite", "int8", tokens, sparse=False)


@pytest.mark.parametrize("quantization", ["dynamic", "int8"])
def test_xnnpack_must_compute_what_the_other_kernels_do(tmp_path, monkeypatch, quantization):
    """It does not for int8 attention, on x86 at least, with zeros and without."""
    run = trial.run

    def wrong_in_one_run(file, runs, runtime="tensorflow", xnnpack=True):
        result = run(file, runs, runtime, xnnpack)
        if xnnpack:
            result.outputs[-1]["output_0"] *= 0.5
        return result

    monkeypatch.setattr(trial, "run", wrong_in_one_run)
    x = np.random.default_rng(0).standard_normal((8, EVEN), "float32")
    with pytest.raises(export.ExportError, match="the same file without XNNPACK"):
        export.to_tflite(network(), tmp_path / "model.tflite", quantization, x)
    assert os.listdir(tmp_path) == []


def test_probabilities_below_a_step_of_int8_are_no_disagreement(tmp_path):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layers.Dense(1000, activation="softmax")(inputs))
    x = 0.01 * np.random.default_rng(0).standard_normal((8, 8), "float32")
    report = export.to_tflite(model, tmp_path / "model.tflite", "int8", x, sparse=False)
    assert np.asarray(model(x)).max() < encodings.output_step(report.path) == 1 / 256
    assert report.tolerance > 1 / 256 > report.max_difference > 0
    export.to_tflite(model, tmp_path / "model.tflite", "float16", sparse=False)
    assert encodings.output_step(tmp_path / "model.tflite") == 0


@pytest.mark.parametrize("write", [export.to_saved_model, export.to_tflite])
def test_an_export_that_disagrees_does_not_appear(tmp_path, monkeypatch, write):
    expect = _verification.expect

    def shifted(model, signature, batch):
        outputs = expect(model, signature, batch)
        return {key: value + 0.01 * np.abs(value).max() for key, value in outputs.items()}

    monkeypatch.setattr(_verification, "expect", shifted)
    with pytest.raises(export.ExportError, match="away from those of the Keras model"):
        write(network(), tmp_path / "there" / "model")
    assert os.listdir(tmp_path) == []


def test_a_tolerance_of_ones_own_is_kept(tmp_path):
    model, path = network(), tmp_path / "model.tflite"
    with pytest.raises(export.ExportError, match="sparsity is not to blame"):
        export.to_tflite(model, path, "float16", tolerance=1e-7)
    assert export.to_tflite(model, path, "float16", tolerance=0.9).tolerance > 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantization": "int4"}, "expected None, "),
        ({"quantization": "int8"}, "without representative_data"),
        ({"quantization": "int16x8"}, "without representative_data"),
        ({"batch_size": 0}, "number of examples from 1"),
        ({"target": "gpu"}, 'expected "size", "x86" or "arm"'),
        ({"threads": 0}, "threads=0; expected a whole number"),
        ({"representative_data": np.zeros((3, 5, 2))}, "expected {'features': "),
        ({"representative_data": []}, "is empty"),
        ({"representative_data": 3}, "representative_data=3, an int"),
    ],
)
def test_arguments_are_checked(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        export.to_tflite(network(), tmp_path / "model.tflite", **arguments)
    assert "Write " in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("write", [export.to_saved_model, export.to_tflite])
@pytest.mark.parametrize("model", [layers.Dense(3), "model.keras"])
def test_what_is_no_model_is_told(tmp_path, write, model):
    with pytest.raises(TypeError, match=r"expected a keras\.Model"):
        write(model, tmp_path / "model")


def test_paths_are_checked_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(
        _keras_export, "write_saved_model", lambda *_: pytest.fail("it was exported first")
    )
    with pytest.raises(NotADirectoryError):
        export.to_tflite(network(), tmp_path / "file" / "model.tflite")
    with pytest.raises(IsADirectoryError):
        export.to_tflite(network(), tmp_path)
    with pytest.raises(FileExistsError):
        export.to_saved_model(network(), tmp_path / "file")
    with pytest.raises(FileExistsError, match="could lose something"):
        export.to_saved_model(network(), tmp_path)


def test_an_earlier_saved_model_is_replaced(tmp_path):
    for hidden in (16, 32):
        report = export.to_saved_model(network(hidden=hidden), tmp_path / "saved")
    kernels = tf.saved_model.load(str(tmp_path / "saved")).variables
    assert kernels[0].shape == (EVEN, 32)
    assert report.gzip_bytes < report.bytes / 2
    assert os.listdir(tmp_path) == ["saved"]


def test_a_model_that_is_not_built_is_told(tmp_path):
    for model in (keras.Sequential([layers.Dense(3)]), Tokens()):
        with pytest.raises(ValueError, match=r"is not built.*model\(x\)"):
            export.to_saved_model(model, tmp_path / "model")


def test_arguments_that_cannot_be_known_are_asked_for(tmp_path):
    x, y = np.zeros((2, 8), "float32"), np.zeros((2, 8), "float32")
    model = sparsified(called(Pair(), x, y))
    with pytest.raises(ValueError, match=r"input_signature=\[keras\.InputSpec"):
        export.to_tflite(model, tmp_path / "model.tflite")
    spec = keras.InputSpec(shape=(None, 8), dtype="float32")
    path = tmp_path / "model.tflite"
    report = export.to_tflite(model, path, sparse=False, input_signature=[spec, spec])
    assert report.max_difference <= report.tolerance


def test_models_that_cannot_be_converted_are_told(tmp_path):
    inputs = keras.Input((2, 2))
    determinant = keras.Model(inputs, keras.ops.det(inputs))
    with pytest.raises(export.ExportError, match="no operator for MatrixDeterminant"):
        export.to_tflite(determinant, tmp_path / "model.tflite")
    outputs = {"a": (inputs * 2, inputs * 3)}
    with pytest.raises(export.ExportError, match="flat lists, tuples or dicts"):
        export.to_saved_model(keras.Model(inputs, outputs), tmp_path / "saved")
    assert os.listdir(tmp_path) == []


def test_mixed_precision_is_exported_in_float32(tmp_path):
    inputs = keras.Input((16,))
    model = keras.Model(inputs, layers.Dense(8, dtype="mixed_float16")(inputs))
    report = export.to_tflite(sparsified(model), tmp_path / "model.tflite")
    assert {each.dtype for each in report.tensors if len(each.shape) == 2} == {"float32"}
    assert model.layers[-1].compute_dtype == "float16"
    half = keras.Model(inputs, layers.Dense(8, dtype="bfloat16", name="half")(inputs))
    with pytest.raises(export.ExportError, match="half of .* half precision"):
        export.to_tflite(half, tmp_path / "half.tflite")


def test_batches(tmp_path):
    path = tmp_path / "model.tflite"
    assert export.to_tflite(network(), path, batch_size=3).batch_size == 3
    assert interpret(path, np.zeros((3, EVEN), "float32"))[0].shape == (3, 16)
    assert export.to_tflite(network(), path).batch_size is None
    assert interpret(path, np.zeros((5, EVEN), "float32"))[0].shape == (5, 16)


X = np.random.default_rng(0).standard_normal((300, 4), "float32")
Y = np.zeros(300)
ONE = {
    "array": X,
    "tensor": tf.constant(X),
    "labelled arrays": (X, Y),
    "weighted arrays": (X, Y, Y),
    "data set": tf.data.Dataset.from_tensor_slices(X).batch(32),
    "labelled data set": tf.data.Dataset.from_tensor_slices((X, Y)).batch(32),
    "endless data set": tf.data.Dataset.from_tensor_slices((X, Y)).batch(32).repeat(),
    "data set of examples": tf.data.Dataset.from_tensor_slices(X),
    "list": [X[:100], X[100:]],
    "generator": lambda: (X[i : i + 7] for i in range(0, 300, 7)),
    "by name": {"x": X, "unused": Y},
}


@pytest.mark.parametrize("form", ONE)
def test_representative_data_in_every_form(form):
    model = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(2)])
    data = ONE[form]() if callable(ONE[form]) else ONE[form]
    rows = examples.read_examples(inspection.find_signature(model), data)
    np.testing.assert_array_equal(np.concatenate([row[0] for row in rows]), X[:256])


A, B = np.arange(12.0).reshape(3, 4), np.arange(24.0).reshape(3, 8)
TWO = {
    "list": [B, A],
    "tuple": (B, A),
    "by name": {"a": A, "b": B},
    "labelled": ([B, A], np.zeros(3)),
    "list of batches": [(B, A)],
    "data set": tf.data.Dataset.from_tensor_slices((B, A)).batch(2),
    "labelled data set": tf.data.Dataset.from_tensor_slices(((B, A), np.zeros(3))).batch(2),
    "data set by name": tf.data.Dataset.from_tensor_slices({"a": A, "b": B}).batch(2),
}


@pytest.mark.parametrize("form", TWO)
def test_representative_data_of_two_inputs_in_every_form(form):
    rows = examples.read_examples(inspection.find_signature(lists()), TWO[form])
    np.testing.assert_array_equal(np.concatenate([row[0] for row in rows]), B)
    np.testing.assert_array_equal(np.concatenate([row[1] for row in rows]), A)


def test_calibration_sees_the_data(tmp_path):
    """Activations beyond the range of the calibration are clipped."""
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, layers.Dense(4, kernel_initializer="identity")(inputs))
    path = tmp_path / "model.tflite"
    for reach in (1.0, 100.0):
        data = np.linspace(-reach, reach, 80, dtype="float32").reshape(20, 4)
        export.to_tflite(model, path, "int8", tf.data.Dataset.from_tensors((data, 0)), sparse=False)
        (clipped,) = interpret(path, np.full((1, 4), 1000.0, "float32"))
        np.testing.assert_allclose(clipped, reach, rtol=0.02)


def test_drawn_integers_are_indices_of_the_embedding():
    signature = inspection.find_signature(called(Tokens(), np.zeros((2, 7), "int32")))
    (only,) = signature.inputs
    assert (only.dtype, only.limit, only.shape) == ("int32", 50, (None, 7))
    (drawn,) = signature.draw(np.random.default_rng(0), 100)
    assert drawn.min() == 0 and drawn.max() == 49


def test_embeddings_are_left_alone():
    model = called(Tokens(), np.zeros((2, 7), "int32"))
    before = dict(vars(model.embedding))
    inspection.find_signature(model)
    assert vars(model.embedding) == before


def test_a_wrapped_model_is_exported_plain_and_left_wrapped(tmp_path):
    model = kprune.wrap(network(zeros=0.0))
    kprune.prune(model, 0.8)
    x = np.random.default_rng(0).standard_normal((4, EVEN), "float32")
    before, masked = np.asarray(model(x)), str(kprune.report(model))
    names = {each.path for each in model.variables}
    report = export.to_tflite(model, tmp_path / "model.tflite")
    export.to_saved_model(model, tmp_path / "saved")
    np.testing.assert_array_equal(model(x), before)
    assert str(kprune.report(model)) == masked
    assert {each.path for each in model.variables} == names
    total = sum(np.prod(each.shape) for each in report.tensors if len(each.shape) == 2)
    kept = sum(each.nonzeros for each in report.tensors if len(each.shape) == 2)
    assert kept == total - round(0.8 * total)
    _no_masks(tmp_path, report)


def test_pruned_layers_are_exported_without_masks(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((EVEN,)),
            kprune.wrap(layers.Dense(32, activation="relu")),
            kprune.wrap(layers.Dense(16)),
        ]
    )
    kprune.prune(model, 0.8)
    before = np.asarray(model(np.ones((2, EVEN))))
    report = export.to_tflite(model, tmp_path / "model.tflite")
    export.to_saved_model(model, tmp_path / "saved")
    np.testing.assert_array_equal(model(np.ones((2, EVEN))), before)
    assert isinstance(model.layers[0], kprune.Pruned)
    _no_masks(tmp_path, report)


def _no_masks(directory, report):
    assert {each.dtype for each in report.tensors} <= {"float32", "int32"}  # masks are boolean
    loaded = tf.saved_model.load(str(directory / "saved"))
    assert [each.name for each in loaded.variables if each.dtype == tf.bool] == []
    assert "mask" not in "".join(each.name for each in loaded.variables)


def test_report(tmp_path):
    path = tmp_path / "model.tflite"
    report = export.to_tflite(network(hidden=256), path)
    content = path.read_bytes()
    assert report.path == str(path)
    assert report.bytes == len(content)
    assert report.gzip_bytes == len(gzip.compress(content, 9))
    assert json.loads(json.dumps(report.to_dict()))["tensors"][0]["encoding"] in str(report)
    text = str(report)
    assert text.isascii() and max(map(len, text.splitlines())) <= 100
    assert f"{report.bytes:,}" in text and f"{report.dense_bytes:,}" in text
    matrices = [each.name for each in report.tensors if len(each.shape) == 2]
    assert all(name.split(";")[0].split("/")[-1] in text for name in matrices)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.bytes = 0


def test_saved_model_report(tmp_path):
    report = export.to_saved_model(network(), tmp_path / "saved")
    assert json.loads(json.dumps(report.to_dict()))["gzip_bytes"] == report.gzip_bytes
    assert f"{report.bytes:,}" in str(report)


def test_tables_show_everything(monkeypatch):
    rows = [["a" * 150, "1,000", "-"], ["[b]", "7", "2.5 %"]]
    text = tables.render("title", ["name", "count", "share"], rows, "footer")
    lines = text.splitlines()
    assert lines[0] == "title" and lines[-1] == "footer"
    assert text.count("a") == 150 + 2  # "name" and "share"; nothing is cut off
    assert "[b]" in text and "|     7 | 2.5 % |" in text
    assert text.isascii() and max(map(len, lines)) <= 100
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert "\x1b[1m" in tables.render("title", ["name"], [["x"]])


def test_nothing_is_written_to_the_console(tmp_path, capsys):
    export.to_saved_model(network(), tmp_path / "saved")
    export.to_tflite(network(), tmp_path / "model.tflite")
    assert capsys.readouterr() == ("", "")


def test_encodings_of_something_else(tmp_path):
    (tmp_path / "file").write_bytes(b"no flatbuffer")
    with pytest.raises(ValueError, match=r"expected a TFLite file.*to_tflite\(model"):
        encodings.read_encodings(tmp_path / "file")


def test_comparison_is_strict_about_what_is_no_number():
    nan, inf, one = (np.array([value]) for value in (np.nan, np.inf, 1.0))

    def largest(a, b):
        return _verification.compare([{"y": a}], [{"y": b}]).largest

    assert largest(nan, nan) == largest(inf, inf) == largest(one, one) == 0.0
    for pair in ((nan, one), (one, nan), (inf, -inf), (inf, one)):
        assert largest(*pair) == np.inf
    with pytest.raises(export.ExportError, match="shape"):
        largest(one, np.ones(2))


def test_tolerances_cover_every_precision():
    assert trial.TOLERANCES.keys() == trial.SPARSE_TOLERANCES.keys()
    assert conversion.format_call("a.tflite", "int8", sparse=False) == (
        "kprune.export.to_tflite(model, 'a.tflite', \"int8\", "
        "representative_data=x_train[:256], sparse=False)"
    )
