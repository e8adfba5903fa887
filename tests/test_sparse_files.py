"""Sparse .tflite files: smallest, exact in every interpreter, and dense only for a reason."""

import json

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies
from hypothesis.extra import numpy as arrays
from test_export import EVEN, interpret, network, sparsified

from kprune import export
from kprune.export import _verification
from kprune.export._tflite import sparsification, trial
from kprune.export._tflite.format import (
    constants,
    encoder,
    encodings,
    flatbuffer,
    loading,
    sparse_array,
)
from kprune.export._tflite.rules import decisions, placement, targets

layers = keras.layers

RAGGED = 66  # a width that blocks of 4 and 16 do not divide


def walk(sparse):
    """Unpacks a sparse tensor as the format's specification has it, one value after another."""
    rank = len(sparse.shape)
    dense = np.zeros(sparse.shape, sparse.values.dtype)
    values = iter(sparse.values)
    sizes = {axis: sparse.levels[rank + place].size for place, axis in enumerate(sparse.blocked)}

    def visit(level, position, path):
        if level == len(sparse.order):
            index = [0] * rank
            for place in path[:rank]:
                index[place[0]] = place[1] * sizes.get(place[0], 1)
            for number, offset in path[rank:]:
                index[sparse.blocked[number - rank]] += offset
            dense[tuple(index)] = next(values)
            return
        here = sparse.levels[level]
        if here.starts is None:
            steps = [(i, position * here.size + i) for i in range(here.size)]
        else:
            first, last = here.starts[position : position + 2]
            steps = [(int(here.indices[i]), i) for i in range(int(first), int(last))]
        for step, below in steps:
            visit(level + 1, below, [*path, (sparse.order[level], step)])

    visit(0, 0, [])
    assert next(values, None) is None
    return dense


def pruned_arrays():
    """Small arrays of every rank, most of their values zero."""
    shapes = arrays.array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=6)
    values = strategies.sampled_from([0, 0, 0, 0, 1, -3, 7])
    return arrays.arrays(
        strategies.sampled_from([np.float32, np.float16, np.int8]), shapes, elements=values
    )


@hypothesis.given(pruned_arrays())
@hypothesis.settings(deadline=None, max_examples=30)
def test_every_layout_holds_the_array_in_the_bytes_that_were_counted(array):
    for size, layout in encoder._sizes(array):
        sparse = sparse_array.encode(array, layout)
        np.testing.assert_array_equal(walk(sparse), array)
        np.testing.assert_array_equal(sparse_array.decode(sparse), array)
        assert sparse.nbytes == size
        assert sparse.block == layout.block


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1024, 512), (300, 200), (64, 3, 3, 32), (1, 3, 3, 64)])
def test_unstructured_zeros_cost_a_value_and_an_index(shape, zeros):
    """The bound of the format: for each value itself, an index, and a start for each row."""
    random = np.random.default_rng(0)
    array = random.standard_normal(shape, "float32") * (random.random(shape) >= zeros)
    sparse = encoder.smallest(array)
    kept = np.count_nonzero(array)
    best = min(
        kept * (4 + (1 if n <= 256 else 2)) + (array.size // n + 1) * (2 if kept < 2**16 else 4)
        for n in shape
    )
    if best < array.nbytes:
        assert sparse.nbytes <= best
    else:
        assert sparse is None


def test_structured_zeros_cost_almost_nothing():
    random = np.random.default_rng(0)
    kept = random.random((512, 64)) < 0.1
    blocks = np.repeat(kept, 4, 1) * random.standard_normal((512, 256), "float32")
    sparse = encoder.smallest(blocks)
    assert sparse.block == (1, 4) and sparse.nbytes < kept.sum() * (16 + 1) + 2 * 513 + 4
    rows = (random.random((512, 1)) < 0.1) * random.standard_normal((512, 256), "float32")
    assert encoder.smallest(rows).nbytes < np.count_nonzero(rows) * 4 + 200
    # Whole channels of a convolution, in and out.
    filters = random.standard_normal((32, 3, 3, 64), "float32")
    filters[:, :, :, 8:] = 0
    assert encoder.smallest(filters).nbytes < 32 * 9 * 8 * 4 + 32
    assert encoder.smallest(np.zeros((64, 64), "float32")).nbytes < 8


def test_no_zeros_and_no_values():
    assert encoder.smallest(np.ones((8, 8), "float32")) is None
    assert encoder.smallest(np.ones((0, 8), "float32")) is None
    assert encoder.smallest(np.array(3.0)) is None
    # A negative zero is a zero; not a number is a value.
    assert encoder.smallest(-np.zeros((64, 64), "float32")).values.size == 0
    array = np.zeros((64, 64), "float32")
    array[3, 5] = np.nan
    assert np.isnan(encoder.smallest(array).values).sum() == 1


@hypothesis.given(
    arrays.arrays(np.uint8, strategies.integers(0, 6), elements=strategies.integers(0, 4)),
    arrays.arrays(np.uint8, strategies.integers(0, 6), elements=strategies.integers(0, 4)),
)
def test_levels_that_do_not_fit_are_refused(starts, indices):
    level = sparse_array.Level(0, starts, indices)
    sparse = sparse_array.SparseArray(
        (4, 4), (0, 1), (), (sparse_array.Level(4), level), np.ones(3, "float32")
    )
    fits = (
        len(starts) == 5
        and len(indices) == 3
        and np.array_equal(np.diff(starts.astype(int)).sum(), 3)
    )
    try:
        sparse_array.decode(sparse)
    except (ValueError, IndexError):
        return
    assert fits


# --- files -------------------------------------------------------------------------------------


def convert(model, quantization=None):
    """A dense file of TensorFlow's converter, without kprune's exporter."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantization:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def files_of(content):
    """The offset of each buffer's data in a file, by walking the flatbuffer."""
    model = flatbuffer.schema().Model.GetRootAs(content, 0)
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            yield buffer._tab.Vector(buffer._tab.Offset(4))


def test_data_lie_at_multiples_of_sixteen():
    made = sparsification.rewrite(convert(network()), targets.Target())
    offsets = list(files_of(made.content))
    assert made.is_sparse and len(offsets) > 3
    assert {offset % 16 for offset in offsets} == {0}


def test_a_file_goes_through_the_schema_unharmed():
    content = convert(network())
    again = flatbuffer.pack(flatbuffer.parse(content))
    first, second = (list(constants.find(flatbuffer.parse(each))) for each in (content, again))
    assert [each.name for each in first] == [each.name for each in second]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.stored, b.stored)


def test_operators_and_graphs_that_take_or_give_nothing():
    """Such lists may be left out of a file."""
    model = flatbuffer.parse(convert(network()))
    operators = [flatbuffer.make("Operator")]
    model.subgraphs.append(
        flatbuffer.make("SubGraph", tensors=[], operators=operators, name=b"init")
    )
    made = sparsification.rewrite(flatbuffer.pack(model), targets.Target())
    assert made.is_sparse and len(flatbuffer.parse(made.content).subgraphs) == 2


@pytest.mark.parametrize("quantization", [None, "float16"])
@pytest.mark.parametrize(("width", "block"), [(EVEN, 1), (EVEN, 4), (RAGGED, 1), (RAGGED, 4)])
def test_stored_values_are_the_weights(tmp_path, quantization, width, block):
    model, path = network(width=width, block=block), tmp_path / "model.tflite"
    report = export.to_tflite(model, path, quantization, timing_seconds=0)
    kernels = {kernel.shape[::-1]: kernel.numpy().T for kernel in model.trainable_variables[::2]}
    held = loading.load(path)
    stored = {
        flatbuffer.shape(tensor): walk(flatbuffer.sparse(held, tensor))
        for tensor in held.subgraphs[0].tensors
        if tensor.sparsity is not None
    }
    assert stored.keys() == kernels.keys()
    for tensor in (each for each in report.tensors if len(each.shape) == 2):
        kernel = kernels[tensor.shape].astype(quantization or "float32")
        np.testing.assert_array_equal(stored[tensor.shape], kernel)
        assert tensor.encoding == encodings.DENSIFIED and tensor.reason is None
        assert tensor.reader == "FULLY_CONNECTED"
        assert tensor.nonzeros == np.count_nonzero(kernel)
        assert tensor.sparsity == pytest.approx(np.mean(kernel == 0))
        assert tensor.bytes < kernel.nbytes == tensor.dense_bytes
    assert report.bytes < report.dense_bytes


def tied():
    """Embeddings that are the last layer's weights too."""
    tokens = keras.Input((6,), dtype="int32")
    embedding = layers.Embedding(400, 32)
    x = layers.GlobalAveragePooling1D()(embedding(tokens))
    logits = keras.ops.matmul(x, keras.ops.transpose(embedding.embeddings))
    return sparsified(keras.Model(tokens, logits))


def convolutions(transposed=False, zeros=0.8):
    image = keras.Input((8, 8, 16))
    x = layers.DepthwiseConv2D(3, padding="same")(layers.Conv2D(32, 3)(image))
    if transposed:
        x = layers.Conv2DTranspose(32, 3, strides=2)(x)
    outputs = layers.Dense(24)(layers.GlobalAveragePooling2D()(x))
    return sparsified(keras.Model(image, outputs), zeros)


def wide_biases():
    """Of zeros, as after training is begun: biases are no weights, and stay dense."""
    image = keras.Input((8, 8, 16))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(1024, 1)(image))
    return sparsified(keras.Model(image, layers.Dense(32)(x)))


def volumes():
    return sparsified(
        keras.Sequential(
            [keras.Input((6, 6, 6, 4)), layers.Conv3D(16, 3), layers.GlobalAveragePooling3D()]
        )
    )


def network_of(width, zeros, block):
    return lambda: network(width, zeros, block)


# What TensorFlow's converter writes wrongly, row by row: the model, the precision, and how the
# matrices are stored here, or why they are dense.
ROWS = {
    "1 float32 blocks, ragged": (network_of(RAGGED, 0.8, 4), None, encodings.DENSIFIED),
    "1 float32 beyond 97 %, ragged": (network_of(RAGGED, 0.98, 1), None, encodings.DENSIFIED),
    "1 int8 blocks, ragged": (network_of(RAGGED, 0.8, 16), "int8", "LiteRT's XNNPACK"),
    "1 dynamic blocks, ragged": (network_of(RAGGED, 0.8, 16), "dynamic", "XNNPACK, on by"),
    "2 float16 blocks": (network_of(EVEN, 0.8, 4), "float16", encodings.DENSIFIED),
    "2 float16 beyond 97 %": (network_of(EVEN, 0.98, 1), "float16", encodings.DENSIFIED),
    "3 dynamic blocks": (network_of(EVEN, 0.8, 16), "dynamic", "XNNPACK, on by"),
    "4 dynamic blocks, wide": (network_of(4112, 0.9, 16), "dynamic", "XNNPACK, on by"),
    "5 float16 transposed": (lambda: convolutions(True), "float16", encodings.DENSIFIED),
    "5 float16 tied": (tied, "float16", encodings.DENSIFIED),
    "6 float32 tied": (tied, None, encodings.DENSIFIED),
    "7 dynamic unstructured": (network_of(EVEN, 0.8, 1), "dynamic", "XNNPACK, on by"),
    "8 int8 unstructured": (network_of(EVEN, 0.8, 1), "int8", "LiteRT's XNNPACK"),
    "8 int8 blocks of 4": (network_of(EVEN, 0.5, 4), "int8", "LiteRT's XNNPACK"),
    "9 float16 at 35 %": (network_of(EVEN, 0.35, 1), "float16", decisions.NO_GAIN),
    "9 int8 at 40 %": (lambda: convolutions(zeros=0.4), "int8", decisions.NO_GAIN),
    "int8 convolution": (convolutions, "int8", encodings.DENSIFIED),
    "float16 biases": (wide_biases, "float16", encodings.DENSIFIED),
    "embedding": (tied, "dynamic", encodings.DENSIFIED),
    "volumes": (volumes, "float16", encodings.DENSIFIED),
}


def examples_of(model, count=16):
    (tensor,) = model.inputs
    random = np.random.default_rng(0)
    shape = (count, *tensor.shape[1:])
    if tensor.dtype == "int32":
        return random.integers(0, 20, shape).astype("int32")
    return random.standard_normal(shape).astype("float32")


TARGETS = [(row, "size") for row in ROWS] + [(row, "x86") for row in ROWS if row[0] in "134"]


@pytest.mark.parametrize(("row", "target"), TARGETS)
def test_what_the_converter_gets_wrong_is_right_or_explained(tmp_path, row, target):
    build, quantization, stored = ROWS[row]
    model, path = build(), tmp_path / "model.tflite"
    x = examples_of(model)
    report = export.to_tflite(model, path, quantization, x, target=target, timing_seconds=0)
    assert path.stat().st_size == report.bytes <= report.dense_bytes
    weights = [each for each in report.tensors if each.dense_bytes >= 2048 and each.sparsity > 0.2]
    found = {each.encoding if each.reason is None else each.reason for each in weights}
    assert found and any(str(stored) in each for each in found), found
    assert not any("does not get it right" in (each.reason or "") for each in report.tensors)
    for each in weights:
        assert each.encoding != encodings.DENSE or each.reason
        assert each.bytes <= each.dense_bytes
    (ours,) = interpret(path, x[:1])
    expected = np.asarray(model(x[:1]))
    limit = {None: 1e-5, "float16": 0.01}.get(quantization, 0.1)
    np.testing.assert_allclose(ours, expected, atol=limit * np.abs(expected).max())


@pytest.mark.parametrize("runtime", ["tensorflow", "litert"])
@pytest.mark.parametrize(
    ("build", "quantization", "fails"),
    [
        (network, "dynamic", {"tensorflow", "litert"}),
        (convolutions, "dynamic", {"tensorflow", "litert"}),
        (network, "int8", {"litert"}),
    ],
)
def test_what_stays_dense_would_fail_or_be_wrong(
    tmp_path, monkeypatch, runtime, build, quantization, fails
):
    """The day one of these passes, a rule of `placement` can go."""
    pytest.importorskip("ai_edge_litert")
    model, x = build(), examples_of(build())
    dense = tmp_path / "dense.tflite"
    export.to_tflite(model, dense, quantization, x, sparse=False)
    monkeypatch.setattr(placement, "find_obstacle", lambda *_: None)
    monkeypatch.setattr(decisions, "OVERHEAD", 0)
    made = sparsification.rewrite(dense.read_bytes(), targets.Target())
    assert made.is_sparse
    path = tmp_path / "sparse.tflite"
    path.write_bytes(made.content)
    name = next(iter(tf_inputs(dense)))
    run = [{name: x[:1]}]
    reference = trial.run(dense, run, runtime)
    if runtime in fails:
        with pytest.raises(export.ExportError):
            result = trial.run(path, run, runtime)
            _verification.agree(result.outputs, reference.outputs, 0.01, "the dense file")
    else:
        result = trial.run(path, run, runtime)
        _verification.agree(result.outputs, reference.outputs, 0.01, "the dense file")


def tf_inputs(path):
    with pytest.warns(UserWarning, match="deprecat"):
        return tf.lite.Interpreter(model_path=str(path)).get_signature_runner().get_input_details()


def test_what_is_widened_comes_after_what_is_unpacked(tmp_path):
    """XNNPACK unpacks tensors in the order of their numbers: here the wrong one at first."""
    path = tmp_path / "dense.tflite"
    export.to_tflite(network(), path, "float16", sparse=False)
    model = loading.load(path)
    (graph,) = model.subgraphs
    for op in [
        each for each in graph.operators if flatbuffer.operator(model, each) == "DEQUANTIZE"
    ]:
        first, second = int(op.inputs[0]), int(op.outputs[0])
        tensors = graph.tensors
        tensors[first], tensors[second] = tensors[second], tensors[first]
        swap = {first: second, second: first}
        for each in graph.operators:
            each.inputs = np.array([swap.get(i, i) for i in each.inputs], np.int32)
            each.outputs = np.array([swap.get(i, i) for i in each.outputs], np.int32)
    dense = flatbuffer.pack(model)
    made = sparsification.rewrite(dense, targets.Target())
    assert made.is_sparse
    run = [{"features": np.random.default_rng(0).standard_normal((3, EVEN)).astype("float32")}]
    results = []
    for content in (dense, made.content):
        path.write_bytes(content)
        results.append(trial.run_everywhere(path, run))
    for runtime in trial.runtimes():
        ours, theirs = (each[runtime].outputs for each in reversed(results))
        _verification.agree(ours, theirs, 1e-5, "the dense file")


def test_half_floats_before_other_kernels_would_be_wrong(tmp_path, monkeypatch):
    """Why float16 embeddings and transposed convolutions are widened to float32."""
    model, path = convolutions(True), tmp_path / "dense.tflite"
    export.to_tflite(model, path, "float16", sparse=False)
    x = examples_of(model, 1)
    name = next(iter(tf_inputs(path)))
    reference = trial.run(path, [{name: x}])
    monkeypatch.setattr(placement, "is_widened", lambda *_: False)
    made = sparsification.rewrite(path.read_bytes(), targets.Target())
    (tmp_path / "sparse.tflite").write_bytes(made.content)
    with pytest.raises(export.ExportError, match="away"):
        result = trial.run(tmp_path / "sparse.tflite", [{name: x}])
        _verification.agree(result.outputs, reference.outputs, 0.01, "the dense file")


def test_a_file_that_an_interpreter_gets_wrong_is_mended(tmp_path, monkeypatch):
    """A later interpreter may have new defects: then what it gets wrong is found, and dense."""
    monkeypatch.setattr(placement, "find_obstacle", lambda *_: None)
    model, path = convolutions(True), tmp_path / "model.tflite"
    report = export.to_tflite(model, path, "dynamic", examples_of(model), timing_seconds=0)
    kernels = [each for each in report.tensors if len(each.shape) == 4]
    stored = {each.reader: (each.encoding, each.reason) for each in kernels}
    assert "does not get it right before CONV_2D" in stored["CONV_2D"][1]
    assert stored["TRANSPOSE_CONV"][0] == encodings.DENSIFIED
    (ours,) = interpret(path, examples_of(model, 1))
    np.testing.assert_allclose(ours, model(examples_of(model, 1)), atol=0.05)


def test_lost_weights_are_found_where_outputs_hardly_show_it(tmp_path):
    model, path = network(), tmp_path / "model.tflite"
    export.to_tflite(model, path, timing_seconds=0)
    other = tmp_path / "other.tflite"
    kernel = model.layers[0].kernel
    values = kernel.numpy()
    values[tuple(np.argwhere(values)[0])] = 0
    kernel.assign(values)
    export.to_tflite(model, other, timing_seconds=0)
    assert encodings.find_difference(path, path) is None
    assert "MatMul" in encodings.find_difference(path, other)


def test_shared_values_stay_shared(tmp_path):
    """Two signatures, two inputs, two outputs, one matrix: its values are written once."""

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            random = np.random.default_rng(0)
            kernel = random.standard_normal((64, 128)) * (random.random((64, 128)) > 0.9)
            self.kernel = tf.Variable(kernel.astype("float32"))

        @tf.function(input_signature=[tf.TensorSpec((None, 64)), tf.TensorSpec((None, 64))])
        def both(self, a, b):
            return {"a": a @ self.kernel, "b": b @ self.kernel}

        @tf.function(input_signature=[tf.TensorSpec((None, 64))])
        def one(self, a):
            return {"y": tf.nn.relu(a @ self.kernel)}

    module = Module()
    tf.saved_model.save(module, str(tmp_path / "saved"), {"both": module.both, "one": module.one})
    dense = tf.lite.TFLiteConverter.from_saved_model(
        str(tmp_path / "saved"), signature_keys=["both", "one"]
    ).convert()
    made = sparsification.rewrite(dense, targets.Target())
    nonzero = np.count_nonzero(module.kernel.numpy())
    assert made.is_sparse
    assert len(made.content) < len(dense) - 64 * 128 * 4 + nonzero * 5 + 1500
    x = np.random.default_rng(1).standard_normal((3, 64)).astype("float32")
    with pytest.warns(UserWarning, match="deprecat"):
        interpreter = tf.lite.Interpreter(model_content=made.content)
    expected = x @ module.kernel.numpy()
    both = interpreter.get_signature_runner("both")(a=x, b=-x)
    np.testing.assert_allclose(both["a"], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(both["b"], -expected, rtol=1e-5, atol=1e-5)
    one = interpreter.get_signature_runner("one")(a=x)["y"]
    np.testing.assert_allclose(one, np.maximum(expected, 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("cell", "quantization"),
    [
        (layers.LSTM, None),
        (layers.LSTM, "float16"),
        (layers.LSTM, "dynamic"),
        (layers.GRU, None),
        (layers.SimpleRNN, "dynamic"),
    ],
)
def test_recurrent_layers(tmp_path, cell, quantization):
    tokens = keras.Input((7,), dtype="int32")
    x = cell(64)(layers.Embedding(200, 32)(tokens))
    model, path = sparsified(keras.Model(tokens, layers.Dense(32)(x))), tmp_path / "model.tflite"
    report = export.to_tflite(model, path, quantization, examples_of(model), timing_seconds=0)
    loops = [each for each in report.tensors if each.graph > 0 and each.dense_bytes > 8000]
    assert report.bytes < report.dense_bytes * (1 if quantization else 0.5)
    if cell is not layers.SimpleRNN and quantization is None and loops:
        assert {each.encoding for each in loops} == {encodings.DENSIFIED}


# --- targets -----------------------------------------------------------------------------------


WIDE = 512  # the narrowest square matrix for which a sparse kernel is faster


def wide(zeros, block):
    return network(width=WIDE, zeros=zeros, block=block, hidden=WIDE)


@pytest.mark.parametrize(
    ("target", "quantization", "zeros", "block", "batch", "threads", "native"),
    [
        ("x86", None, 0.92, 4, 1, 1, True),
        ("x86", None, 0.92, 4, None, 1, True),
        ("x86", None, 0.85, 4, 1, 1, False),  # below the measured sparsity
        ("x86", None, 0.97, 1, 1, 1, False),  # zeros, but no blocks of them
        ("x86", None, 0.92, 4, None, 2, False),  # threads that the sparse kernel does not use
        ("x86", None, 0.92, 4, 64, 1, False),  # a batch that was not measured
        ("x86", "float16", 0.92, 4, 1, 1, False),  # read as float32, past their end
        ("x86", "dynamic", 0.92, 16, 1, 1, True),
        ("x86", "dynamic", 0.92, 4, 1, 1, False),
        ("x86", "int8", 0.97, 16, 1, 1, False),
        ("arm", None, 0.86, 4, 1, 1, False),
        ("arm", None, 0.86, 4, 16, 1, True),
        ("arm", "dynamic", 0.8, 16, 1, 1, True),
        ("size", None, 0.97, 4, 1, 1, False),
        ("size", "dynamic", 0.92, 16, None, 1, True),  # no other sparse form is read right
        ("size", "dynamic", 0.8, 16, 1, 1, False),
        ("size", "int8", 0.97, 16, 1, 1, False),
    ],
)
def test_targets_choose_by_the_measured_rules(
    tmp_path, target, quantization, zeros, block, batch, threads, native
):
    model, path = wide(zeros, block), tmp_path / "model.tflite"
    report = export.to_tflite(
        model,
        path,
        quantization,
        examples_of(model),
        target=target,
        batch_size=batch,
        threads=threads,
        timing_seconds=0,
    )
    (matrix,) = [each for each in report.tensors if each.shape == (WIDE, WIDE)]
    assert (matrix.encoding == encodings.NATIVE) == native
    if native:
        assert matrix.block == (1, block)
        x = np.random.default_rng(0).standard_normal((1, WIDE), "float32")
        (ours,) = interpret(path, x)
        limit = 0.05 if quantization else 1e-5
        np.testing.assert_allclose(ours, model(x), atol=limit * np.abs(model(x)).max())


def test_narrow_and_ragged_matrices_have_no_sparse_kernel():
    rule = targets.Target("x86", 1)
    assert rule.find_obstacle((1024, 1024), "float32", True) is None
    assert "not a multiple of 4" in rule.find_obstacle((1024, 1022), "float32", True)
    assert "beyond 4096 inputs" in rule.find_obstacle((1024, 4112), "int8", True)
    assert "fewer than" in rule.find_obstacle((64, 64), "float32", True)
    assert "is slower" in rule.find_obstacle((1024, 1024), "int8", False)


def test_report_tells_costs(tmp_path):
    report = export.to_tflite(wide(0.9, 1), tmp_path / "model.tflite")
    assert {each.runtime for each in report.costs} == set(trial.runtimes())
    assert all(each.load_seconds > 0 and each.peak_bytes > 0 for each in report.costs)
    assert report.latency.calls >= 3 and report.latency.spread[0] <= report.latency.ratio
    text = str(report)
    assert "loads in" in text and "peak" in text and "a call" in text
    assert json.loads(json.dumps(report.to_dict()))["latency"]["calls"] == report.latency.calls
