"""A .tflite file made to harm is refused before anything is made of it."""

import copy
import tracemalloc

import flatbuffers
import keras
import numpy as np
import pytest
from attacks import LIMIT

import kprune
from kprune import export
from kprune.export import compressed
from kprune.export._tflite.format import flatbuffer, loading, sparse_array

layers = keras.layers


@pytest.fixture(scope="module")
def sparse_file(tmp_path_factory):
    """A file whose weights pass DENSIFY and DEQUANTIZE."""
    path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    model = keras.Sequential([keras.Input((8, 8, 16)), layers.Conv2D(32, 1), layers.Flatten()])
    model.add(layers.Dense(16))
    kprune.prune(model, 0.9)
    export.to_tflite(kprune.strip(model), path, "float16", timing_seconds=0)
    return path


def operators(model, *names):
    return [op for op in model.subgraphs[0].operators if flatbuffer.operator(model, op) in names]


def read_what_is_written(model):
    for op in operators(model, "DENSIFY", "DEQUANTIZE"):
        op.inputs = np.array(op.outputs, np.int32)


def exchange_order(model):
    model.subgraphs[0].operators.reverse()


def double_inputs(model):
    """Each DEQUANTIZE would double the readers of a constant."""
    for op in operators(model, "DEQUANTIZE"):
        op.inputs = np.array([op.inputs[0]] * 2, np.int32)


def unpack_often(model):
    """Another chain of DEQUANTIZE, so long that each look at it costs."""
    graph = model.subgraphs[0]
    (op, *_) = operators(model, "DEQUANTIZE")
    for _ in range(10):
        graph.tensors.append(copy.copy(graph.tensors[int(op.outputs[0])]))
        inputs, outputs = op.outputs, np.array([len(graph.tensors) - 1], np.int32)
        made = {"opcodeIndex": op.opcodeIndex, "inputs": inputs, "outputs": outputs}
        op = flatbuffer.make("Operator", **made)
        graph.operators.append(op)


def set_first(name, value):
    def change(model):
        setattr(model.subgraphs[0].operators[-1], name, value)

    return change


def change_tensor(name, value):
    def change(model):
        setattr(model.subgraphs[0].tensors[-1], name, value)

    return change


def change_sparse(change_it):
    def change(model):
        for tensor in model.subgraphs[0].tensors:
            if tensor.sparsity is not None:
                change_it(tensor)

    return change


def all_dense(tensor):
    for level in tensor.sparsity.dimMetadata:
        level.format, level.denseSize = 0, 1 << 20


def no_lists(tensor):
    for level in tensor.sparsity.dimMetadata:
        level.arraySegments = None


BROKEN = {
    "a circle": (read_what_is_written, "is read before it is written"),
    "the wrong order": (exchange_order, "is read before it is written"),
    "several inputs": (double_inputs, "several tensors"),
    "a chain": (unpack_often, "in turn"),
    "an operator code": (set_first("opcodeIndex", 10**6), "the code 1000000"),
    "an input": (
        set_first("inputs", np.array([10**6] * 3, np.int32)),
        "refers to more than there is",
    ),
    "no inputs": (set_first("inputs", None), "without tensors"),
    "a buffer": (change_tensor("buffer", 10**6), "buffer 1000000"),
    "a type": (change_tensor("type", 99), "type 99"),
    "a builtin": (lambda m: setattr(m.operatorCodes[0], "builtinCode", 786441), "number 786441"),
    "no options": (
        lambda m: [setattr(op, "builtinOptions", None) for op in operators(m, "CONV_2D")],
        "CONV_2D is without options",
    ),
    "no sub-graph": (lambda m: setattr(m, "subgraphs", []), "no sub-graph"),
    "a signature": (
        lambda m: setattr(m.signatureDefs[0], "subgraphIndex", 7),
        "sub-graph 7",
    ),
    "dense levels": (change_sparse(all_dense), "tensors take"),
    "no lists": (change_sparse(no_lists), "a level of"),
    "a huge shape": (
        change_sparse(lambda t: setattr(t, "shape", np.full(len(t.shape), 1 << 30, np.int32))),
        "tensors take",
    ),
    "no order": (change_sparse(lambda t: setattr(t.sparsity, "traversalOrder", None)), "levels of"),
    "a block": (
        change_sparse(lambda t: setattr(t.sparsity, "blockMap", np.array([9], np.int32))),
        "levels of",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_tflite_file_whose_numbers_point_to_nothing(kind, sparse_file, tmp_path):
    change, message = BROKEN[kind]
    model = loading.load(sparse_file)
    change(model)
    path = tmp_path / "model.tflite"
    path.write_bytes(flatbuffer.pack(model))
    with pytest.raises(ValueError, match=message):
        export.check(path)


def once(kind, *arguments):
    """A table that is written once, however often it is referred to."""

    class Once(kind):
        place = None

        def Pack(self, builder):
            if self.place is None:
                self.place = super().Pack(builder)
            return self.place

    return Once(*arguments)


@pytest.mark.parametrize("graphs", [1, 2000])
def test_a_small_file_that_describes_millions_of_tensors(graphs, tmp_path):
    schema = flatbuffer.schema()
    tensor = once(schema.TensorT)
    tensor.name, tensor.shape = b"n" * 20_000, np.ones(1, np.int32)
    graph = once(schema.SubGraphT)
    graph.tensors, graph.operators = [tensor] * 2000, []
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph] * graphs, [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "model.tflite"
    path.write_bytes(bytes(builder.Output()))
    assert path.stat().st_size < 50_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="takes? more than"):
            export.check(path, limit_bytes=LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 2 * LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": (0, 0)}, "expected each once"),
        ({"levels": ()}, "expected each once"),
        ({"values": np.ones(3)}, "3 values for 2 places"),
        ({"shape": (1, 2)}, "positions from 1 to 3"),
        ({"order": (0, 1, 2), "blocked": (5,)}, "expected"),
    ],
)
def test_lists_of_a_sparse_array_that_do_not_fit(change, message):
    layout = sparse_array.Layout((0,), (1,), (), (1, 1))
    sound = sparse_array.encode(np.array([[0, 7, 0, 8]], np.int8), layout)
    with pytest.raises(ValueError, match=message):
        sparse_array.decode(type(sound)(**{**vars(sound), **change}))


def test_the_limit_holds_for_a_tflite_file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    with pytest.raises(ValueError, match="has 108 bytes; expected 50 at most"):
        export.check(path, limit_bytes=50)
    assert compressed.LIMIT == loading.LIMIT
