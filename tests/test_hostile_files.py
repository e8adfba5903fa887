"""Files made to harm are refused before anything is run, allocated or written for them."""

import copy
import io
import json
import os
import struct
import tracemalloc
import zipfile
import zlib

import flatbuffers
import h5py
import keras
import numpy as np
import pytest

import kprune
from kprune import export
from kprune._keras import private
from kprune.export import compressed
from kprune.export._compressed import container
from kprune.export._reading import config_check
from kprune.export._tflite.format import flatbuffer, loading, sparse_array

layers = keras.layers
LIMIT = 1 << 24


def dense():
    return keras.Sequential([keras.Input((8,)), layers.Dense(2, name="dense")])


# --- code in configs ---------------------------------------------------------------------------


def function(module, name, registered=None):
    names = {"module": module, "class_name": "function", "config": name}
    return {**names, "registered_name": registered or name}


def layer(module, name, /, **config):
    names = {"module": module, "class_name": name, "config": config}
    return {**names, "registered_name": name}


def calls(what):
    return layer("keras.layers", "Lambda", function=what, arguments={"fname": "x", "origin": "y"})


CODE = {
    "os.system": function("os", "system"),
    "posix.system": function("posix", "system"),
    "builtins.eval, as a class": layer("builtins", "eval"),
    "subprocess.Popen": layer("subprocess", "Popen", args=["true"]),
    "a download": calls(function("keras.utils", "get_file")),
    "a download by its source": calls(function("keras.src.utils.file_utils", "get_file")),
    "safe mode off": calls(function("keras.config", "enable_unsafe_deserialization")),
    "another file": calls(function("keras.models", "load_model")),
    "a factory": calls(function("keras.layers", "deserialize")),
    "a factory by its name": calls(function("builtins", "deserialize")),
    "a dotted name": layer("keras", "utils.get_file"),
    "a function of keras": function("keras", "device"),
    "bytecode": calls({"class_name": "__lambda__", "config": {"code": "4wEA"}}),
    "a pickled module": layer("keras.layers", "TorchModuleWrapper", module="gASV"),
    "a SavedModel elsewhere": layer("keras.layers", "TFSMLayer", filepath="/tmp/x"),
    "a vocabulary elsewhere": layer("keras.layers", "StringLookup", vocabulary="/etc/passwd"),
    "a specification": {**layer("keras.utils", "__typespec__"), "spec_name": "get_file"},
    "a huge array": {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "S99999999"}},
    "a name that is none": {"class_name": 3, "module": ["keras"], "config": {}},
    "another module": layer("antigravity", "Fly"),
}


def fail(*_, **__):
    pytest.fail("Keras was given the config")


@pytest.mark.parametrize("where", ["layer", "activation", "loss", "beside"])
@pytest.mark.parametrize("attack", CODE)
def test_a_config_that_names_code_is_refused_before_keras_sees_it(
    attack, where, tmp_path, monkeypatch
):
    model, path = dense(), tmp_path / "model.kprune"
    model.compile("sgd", "mse")
    export.save_compressed(model, path)
    directory, sections = container.unpack(path.read_bytes(), LIMIT)
    del directory["lengths"]
    config = directory["config"]
    if where == "layer":
        config["config"]["layers"].append(CODE[attack])
    elif where == "activation":
        config["config"]["layers"][1]["config"]["activation"] = CODE[attack]
    elif where == "loss":
        config["compile_config"]["loss"] = CODE[attack]
    else:
        config["build_config"] = {"anything": [CODE[attack]]}
    path.write_bytes(container.pack(directory, [bytes(each) for each in sections]))
    monkeypatch.setattr(private, "declared_bytes", fail)
    monkeypatch.setattr(keras.models, "load_model", fail)
    with pytest.raises(ValueError, match="the config "):
        export.load_compressed(path)


def test_the_users_own_classes_are_let_through():
    own = layer("somewhere.else", "Own")
    with pytest.raises(ValueError, match=r"custom_objects=\{...\}"):
        config_check.check_config(own)
    config_check.check_config(own, {"Own": layers.Dense})
    config_check.check_config(own, safe_mode=False)
    with keras.saving.custom_object_scope({"Own": layers.Dense}):
        config_check.check_config(own)


@pytest.mark.parametrize(
    "entry",
    [
        keras.ops.Relu() if hasattr(keras.ops, "Relu") else layers.ReLU(),
        keras.activations.gelu,
        keras.losses.mean_squared_error,
        keras.dtype_policies.DTypePolicy("mixed_float16"),
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10)),
        layers.StringLookup(vocabulary=["a", "b"]),
        np.ones((2, 3), "float32"),
        keras.random.SeedGenerator(1),
        keras.regularizers.L2(0.1),
    ],
    ids=lambda each: getattr(each, "__name__", type(each).__name__),
)
def test_what_keras_writes_of_its_own_is_let_through(entry):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(entry)))
    config_check.check_config(config)


def sequential(count):
    return layer("keras", "Sequential", name="s", layers=[layer("keras.layers", "ReLU")] * count)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (sequential(501), "more than 500 layers in Sequential"),
        ([sequential(400)] * 2, "more than 500 layers in Sequential"),
        (layer("keras.layers", "TextVectorization", ngrams=1 << 30), "over which Keras loops"),
        ([layer("keras.layers", "ReLU")] * 10_000, "10,000 layers and other objects would take"),
    ],
)
def test_what_keras_takes_long_for_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        config_check.check_size(config, LIMIT)


def test_a_thousand_objects_are_never_too_many():
    config_check.check_size([layer("keras.layers", "ReLU")] * 1000, limit_bytes=1)


# --- memory and time of compressed files -------------------------------------------------------


def write_directory(path, text):
    packed = zlib.compress(text, 9)
    head = "<6sHQQQ"
    length = struct.calcsize(head) + len(packed) + 4
    content = struct.pack(head, b"kprune", 1, length, len(packed), len(text)) + packed
    path.write_bytes(content + struct.pack("<I", zlib.crc32(content)))


START, END = b'{"lengths":[],"config":{"x":[', b'0]},"assets":[],"tensors":[]}'
CHEAP = {  # text that becomes many times as large in Python
    "lists": b"[],",
    "dicts": b'{"a":0},',
    "strings": b'"",',
    "floats": b"1.5,",
    "wide strings": '"\U0001f600aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",'.encode(),
    "layers": b'{"class_name":"Dense","config":{}},',
}


@pytest.mark.parametrize("fraction", [1.0, 0.04])
@pytest.mark.parametrize("kind", CHEAP)
def test_a_directory_takes_little_more_than_the_limit(kind, fraction, tmp_path):
    """As text it is within the limit; at 4 % some of these are within it as objects, too."""
    path, piece = tmp_path / "model.kprune", CHEAP[kind]
    count = int(fraction * (LIMIT - len(START) - len(END))) // len(piece)
    write_directory(path, START + piece * count + END)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            export.load_compressed(path, limit_bytes=LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 4 * LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "name",
    ["a/" * 64 + "b", "a" * 256, "a//b", "/a", "a/../b", "./a", "a\0b", "a\\b", "c:/a", "", 3]
    + ["a\nb", "\ud800"],
)
@pytest.mark.parametrize("part", ["tensors", "assets"])
def test_names_are_paths_below_the_model(name, part, tmp_path):
    path = tmp_path / "model.kprune"
    entry = [name, "<f4", "", [0]] if part == "tensors" else [name, 0]
    directory = {"config": {}, "assets": [], "tensors": [], part: [entry]}
    path.write_bytes(container.pack(directory, [b""]))
    with pytest.raises(ValueError, match="is not a name"):
        export.load_compressed(path)


def test_many_empty_tensors_are_counted(tmp_path):
    """Each takes no values, and a group of HDF5 for every part of its name."""
    names = ["/".join([str(number), *"a" * 60]) for number in range(5000)]
    directory = {"config": {}, "assets": [], "tensors": [[name, "<f4", "", [0]] for name in names]}
    path = tmp_path / "model.kprune"
    path.write_bytes(container.pack(directory, [b"\0"] * len(names)))
    with pytest.raises(ValueError, match="the list of tensors would take"):
        export.load_compressed(path, limit_bytes=LIMIT)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (["a", "<f4,<f4", "", [1]], "not a type"),
        (["a", None, "", [1]], "not a type"),
        (["a", "<f4", "x" * 100_000, [1]], "not a type"),
        (["a", "<f4", "", [1 << 62] * 100], "not a shape"),
        (["a", "<f4", "", [1 << 70, 0]], "not a count"),
        (["a", "<f4", "", 3], "not a shape"),
    ],
)
def test_types_and_shapes_are_checked(entry, message, tmp_path):
    path = tmp_path / "model.kprune"
    directory = {"config": {}, "assets": [], "tensors": [entry]}
    path.write_bytes(container.pack(directory, [b"\0"]))
    with pytest.raises(ValueError, match=message):
        export.load_compressed(path)


def test_whatever_keras_raises_is_a_value_error(tmp_path, monkeypatch):
    path = tmp_path / "model.kprune"
    export.save_compressed(dense(), path)
    for error in (KeyError("x"), MemoryError(), OSError(36, "too long"), RecursionError()):

        def raise_it(*_, error=error, **__):
            raise error

        monkeypatch.setattr(keras.models, "load_model", raise_it)
        with pytest.raises(ValueError, match="Keras cannot make the model") as caught:
            export.load_compressed(path)
        assert caught.value.__cause__ is error


def test_a_pipe_is_no_file(tmp_path):
    """Its size is not known: it could go on forever."""
    reading, writing = os.pipe()
    os.write(writing, b"kprune")
    os.close(writing)
    with pytest.raises(ValueError, match="gives more than the 0 bytes"):
        export.load_compressed(f"/dev/fd/{reading}")
    os.close(reading)


# --- .keras files ------------------------------------------------------------------------------


@pytest.fixture
def keras_file(tmp_path):
    path = tmp_path / "model.keras"
    dense().save(path)
    return path


def rewrite(path, change):
    """Writes an archive anew, with its files changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    extra = change(entries) or []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in [*entries.items(), *extra]:
            archive.writestr(name, content)


def change_weights(path, change):
    """Changes the HDF5 file in an archive."""

    def change_entry(entries):
        content = io.BytesIO(entries["model.weights.h5"])
        with h5py.File(content, "r+") as store:
            change(store)
        entries["model.weights.h5"] = content.getvalue()

    rewrite(path, change_entry)


def link():
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    return entry


ARCHIVES = {
    "above": (lambda entries: [("../evil", b"x")], "would be written elsewhere"),
    "absolute": (lambda entries: [("/tmp/evil", b"x")], "would be written elsewhere"),
    "windows": (lambda entries: [("a\\..\\..\\evil", b"x")], "would be written elsewhere"),
    "drive": (lambda entries: [("c:evil", b"x")], "would be written elsewhere"),
    "link": (lambda entries: [(link(), b"/etc/passwd")], "would be written elsewhere"),
    "bomb": (lambda entries: [("assets/zeros", bytes(1 << 25))], "expected 16,777,216"),
    "no config": (lambda entries: entries.pop("config.json") and None, "no item named"),
    "no object": (lambda entries: entries.update({"config.json": b"[]"}), "not an object"),
    "deep": (lambda entries: entries.update({"config.json": b"[" * 9999}), "nested too deeply"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_made_to_harm(kind, keras_file):
    change, message = ARCHIVES[kind]
    rewrite(keras_file, change)
    with pytest.raises(ValueError, match=message):
        export.check(keras_file, limit_bytes=LIMIT)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_configs_in_an_archive(keras_file):
    """One would be checked, and the other one loaded."""
    rewrite(keras_file, lambda entries: [("config.json", b"{}")])
    with pytest.raises(ValueError, match="the same name"):
        export.check(keras_file)


def external_link(store):
    del store["layers/dense/vars/0"]
    store["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(store):
    del store["layers/dense/vars/0"]
    store["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense/vars/1")


def virtual(store):
    layout = h5py.VirtualLayout((8, 2), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (8, 2))
    del store["layers/dense/vars/0"]
    store.create_virtual_dataset("layers/dense/vars/0", layout)


def external_data(store):
    del store["layers/dense/vars/0"]
    where = [("/etc/passwd", 0, 64)]
    store.create_dataset("layers/dense/vars/0", (8, 2), "f4", external=where)


def huge(store):
    store.create_dataset("x", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024), compression="gzip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external_link, "ExternalLink"),
        (soft_link, "SoftLink"),
        (virtual, "kept in another file"),
        (external_data, "kept in another file"),
        (huge, "weights take 4,398"),
    ],
)
def test_weights_made_to_harm(change, message, keras_file):
    change_weights(keras_file, change)
    with pytest.raises(ValueError, match=message):
        export.check(keras_file)


def test_weights_in_any_form_are_measured(keras_file):
    """Keras reads them from .npz too, and from several files."""
    bomb = io.BytesIO()
    np.savez_compressed(bomb, x=np.zeros((1 << 23,), "f4"))
    rewrite(keras_file, lambda entries: [("model.weights.npz", bomb.getvalue())])
    with pytest.raises(ValueError, match="weights take 33,554,"):
        export.check(keras_file, limit_bytes=LIMIT)
    other = io.BytesIO()
    with h5py.File(other, "w") as store:
        store["x"] = h5py.ExternalLink("/etc/passwd", "/x")
    dense().save(keras_file)
    rewrite(keras_file, lambda entries: [("model_00000.weights.h5", other.getvalue())])
    with pytest.raises(ValueError, match="ExternalLink"):
        export.check(keras_file)


def test_groups_in_a_circle_end(keras_file):
    change_weights(keras_file, lambda store: store["layers"].__setitem__("again", store["layers"]))
    export.check(keras_file)


def test_a_keras_file_with_code_or_a_huge_layer(keras_file):
    original = keras_file.read_bytes()

    def change_config(change):
        def change_entry(entries):
            config = json.loads(entries["config.json"])
            change(config["config"]["layers"])
            entries["config.json"] = json.dumps(config).encode()

        keras_file.write_bytes(original)
        rewrite(keras_file, change_entry)

    for attack in ("a download", "bytecode", "a pickled module", "os.system"):
        change_config(lambda found, attack=attack: found.append(CODE[attack]))
        with pytest.raises(ValueError, match="the config names"):
            export.check(keras_file)
    change_config(lambda found: found[1]["config"].update(units=1 << 40))
    with pytest.raises(ValueError, match="its variables would take"):
        export.check(keras_file)


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 1000])
def test_what_is_no_archive(content, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"not a sound \.keras file"):
        export.check(path)
    with pytest.raises(OSError):
        export.check(tmp_path / "nowhere.keras")


# --- .tflite files -----------------------------------------------------------------------------


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
        op = type(op)(opcodeIndex=op.opcodeIndex, inputs=inputs, outputs=outputs)
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
    "a circle": (read_what_is_written, "which is read before written"),
    "the wrong order": (exchange_order, "which is read before written"),
    "several inputs": (double_inputs, "of several tensors"),
    "a chain": (unpack_often, "unpack in turn"),
    "an operator code": (set_first("opcodeIndex", 10**6), "an operator's code 1000000"),
    "an input": (set_first("inputs", np.array([10**6] * 3, np.int32)), "with a number beyond"),
    "no inputs": (set_first("inputs", None), "without tensors"),
    "a buffer": (change_tensor("buffer", 10**6), "buffer 1000000"),
    "a type": (change_tensor("type", 99), "type 99"),
    "a builtin": (lambda m: setattr(m.operatorCodes[0], "builtinCode", 786441), "number 786441"),
    "no options": (
        lambda m: [setattr(op, "builtinOptions", None) for op in operators(m, "CONV_2D")],
        "CONV_2D without options",
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
