"""Compressed files: every model comes back bit for bit; what is damaged or made to harm is told."""

import json
import struct
import tracemalloc
import zlib

import hypothesis
import keras
import models
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from models import compiled, mlp

import kprune
from kprune._masking import masked_weights
from kprune.export import compressed
from kprune.export._compressed import container
from kprune.training import weight_sharing

layers = keras.layers
many = hypothesis.settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)


@keras.saving.register_keras_serializable("kprune_test_compressed")
class Subclassed(models.Subclassed):
    """A subclassed model that Keras can make again."""

    def __init__(self, **kwargs):
        super().__init__()

    def get_config(self):
        """Nothing to say."""
        return {}


def subclassed():
    model, x = Subclassed(), np.zeros((2, 5), "float32")
    model(x)
    return model, x


def words():
    """A vocabulary, which lies beside the weights."""
    lookup = layers.TextVectorization(output_sequence_length=4)
    lookup.adapt(["some words to know", "and some more"])
    text = keras.Input((1,), dtype="string")
    x = layers.Flatten()(layers.Embedding(12, 6)(lookup(text)))
    return keras.Model(text, layers.Dense(2)(x)), tf.constant([["some"], ["more words"]])


def normalized():
    scale = layers.Normalization()
    scale.adapt(np.random.default_rng(0).standard_normal((9, 5)))
    return keras.Sequential([keras.Input((5,)), scale, layers.Dense(3)]), np.ones((2, 5))


def halves(policy):
    def make():
        keras.config.set_dtype_policy(policy)
        model = keras.Sequential(
            [keras.Input((8,)), layers.Dense(16, name="a"), layers.Dropout(0.1), layers.Dense(4)]
        )
        return model, np.ones((2, 8), "float32")

    return make


KINDS = {
    **models.KINDS,
    "subclassed": subclassed,
    "words": words,
    "normalized": normalized,
    "mixed": halves("mixed_float16"),
    "float16": halves("float16"),
    "bfloat16": halves("bfloat16"),
}


@pytest.fixture
def lenet(tmp_path):
    """A pruned and shared model, its file, and the file's content."""
    model = compiled(mlp())
    kprune.prune(model, 0.7)
    weight_sharing.share_weights(model, 3)
    path = tmp_path / "mlp.kprune"
    compressed.save_compressed(model, path)
    return model, path, path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_comes_back_bit_for_bit(kind, tmp_path):
    model, x = KINDS[kind]()
    kprune.prune(model, 0.8)
    path = tmp_path / "model.kprune"
    report = compressed.save_compressed(model, path)
    loaded = compressed.load_compressed(path, compile=False)
    assert report.bytes == path.stat().st_size
    assert type(loaded) is type(model)
    for one, other in zip(model.weights, loaded.weights, strict=True):
        assert one.dtype == other.dtype
        assert np.array(one).tobytes() == np.array(other).tobytes()
    expected, found = (each(x) for each in (model, loaded))
    keras.tree.map_structure(np.testing.assert_array_equal, found, expected)


def test_the_model_stays_wrapped_and_the_file_has_no_masks(lenet):
    model, path, _ = lenet
    assert masked_weights.find(model)
    loaded = compressed.load_compressed(path)
    assert not masked_weights.find(loaded)
    assert loaded.weights[0].constraint is None


def test_it_is_compiled_as_it_was_with_a_new_optimizer(lenet, data):
    model, path, _ = lenet
    model.fit(*data, verbose=0)
    compressed.save_compressed(model, path)
    loaded = compressed.load_compressed(path)
    assert loaded.evaluate(*data, verbose=0) == pytest.approx(model.evaluate(*data, verbose=0))
    assert type(loaded.optimizer) is keras.optimizers.Adam
    assert int(loaded.optimizer.iterations) == 0
    assert not compressed.load_compressed(path, compile=False).compiled


def test_the_report_is_of_the_file(tmp_path):
    model = keras.Sequential([keras.Input((300,)), layers.Dense(100, name="dense")])
    kprune.prune(model, 0.9)
    weight_sharing.share_weights(model, 4)
    report = compressed.save_compressed(model, tmp_path / "model.kprune")
    kernel, bias = report.tensors
    assert (kernel.kept, kernel.distinct, kernel.form) == (3000, 16, "sparse codes")
    assert (bias.kept, bias.shape) == (0, (100,))
    assert report.dense_bytes == 4 * 30_100
    assert kernel.bytes < kernel.fixed_bytes
    assert kernel.bits == pytest.approx(8 * kernel.bytes / 3000)
    assert report.ratio == pytest.approx(120_400 / report.bytes)
    assert "300 x 100" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["bytes"] == report.bytes


def test_a_file_is_written_whole_or_not_at_all(lenet, monkeypatch):
    model, path, content = lenet

    def fail(*_):
        raise RuntimeError("stopped")

    monkeypatch.setattr(container, "pack", fail)
    with pytest.raises(RuntimeError, match="stopped"):
        compressed.save_compressed(model, path)
    assert path.read_bytes() == content
    assert masked_weights.find(model)


@many
@hypothesis.given(place=st.integers(0, 10_000))
def test_a_truncated_file_is_an_error(place, lenet):
    _, path, content = lenet
    path.write_bytes(content[: place % len(content)])
    with pytest.raises(ValueError, match="Copy the file again"):
        compressed.load_compressed(path)


@many
@hypothesis.given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_an_altered_file_is_an_error(place, bit, lenet):
    _, path, content = lenet
    altered = bytearray(content)
    altered[place % len(content)] ^= 1 << bit
    path.write_bytes(altered)
    with pytest.raises(ValueError, match="Copy the file again"):
        compressed.load_compressed(path)


def changed(content, change):
    """The file's content with another directory or other sections, and a checksum that fits."""
    directory, sections = container.unpack(content, 1 << 20)
    del directory["lengths"]
    sections = [bytes(each) for each in sections]
    change(directory, sections)
    return container.pack(directory, sections)


def huge_tensor(directory, sections):
    directory["tensors"][0][3] = [1 << 20, 1 << 20]


def huge_layer(directory, sections):
    directory["config"]["config"]["layers"][1]["config"]["units"] = 1 << 40


def wide_layer(directory, sections):
    directory["config"]["config"]["layers"][1]["config"]["units"] = 17


def other_type(directory, sections):
    directory["tensors"][0][1] = "O"


def negative(directory, sections):
    directory["tensors"][0][3] = [-1, 16]


def one_name(directory, sections):
    directory["tensors"][1][0] = directory["tensors"][0][0]


def no_tensors(directory, sections):
    del directory["tensors"]


def outside(directory, sections):
    directory["assets"] = [["assets/../../evil", 3]]
    sections.insert(0, zlib.compress(b"bad"))


def bomb(directory, sections):
    directory["assets"] = [["assets/bomb", 3]]
    sections.insert(0, zlib.compress(bytes(1 << 24)))


def two_sections_for_one(directory, sections):
    sections[0], sections[1] = sections[0] + sections[1], b""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (huge_tensor, "the tensors would take 4,398"),
        (huge_layer, "the model's variables would take"),
        (wide_layer, "Keras cannot make the model"),
        (other_type, "is not a type of numbers"),
        (negative, "-1 is not a count"),
        (one_name, "names are for"),
        (no_tensors, "has not the parts of a model"),
        (outside, "is not a name"),
        (bomb, "not as long as announced"),
        (two_sections_for_one, "left over"),
    ],
)
def test_a_file_made_to_harm_is_told_before_it_is_obeyed(change, message, lenet):
    _, path, content = lenet
    path.write_bytes(changed(content, change))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            compressed.load_compressed(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def resealed(content, **fields):
    """The content with other numbers in its head, and a checksum that fits."""
    names = ["magic", "version", "length", "packed", "plain"]
    head = dict(zip(names, struct.unpack_from(container.HEAD, content), strict=True)) | fields
    new = (
        struct.pack(container.HEAD, *head.values()) + content[struct.calcsize(container.HEAD) : -4]
    )
    return new + struct.pack("<I", zlib.crc32(new))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": 2}, "has version 2; expected 1. Update kprune"),
        ({"plain": 1 << 40}, "a directory of 1099511627776 bytes is announced"),
        ({"plain": 10}, "the directory is not as long as announced"),
        ({"packed": 1 << 40}, "bytes are announced where"),
        ({"packed": 9}, "the directory"),
        ({"length": 1 << 62}, "bytes of 4611686018427387904"),
    ],
)
def test_a_head_made_to_harm_is_told(fields, message, lenet):
    _, path, content = lenet
    path.write_bytes(resealed(content, **fields))
    with pytest.raises(ValueError, match=message):
        compressed.load_compressed(path)


def test_the_limit_holds_for_file_tensors_and_model(tmp_path):
    model = keras.Sequential([keras.Input((300,)), layers.Dense(100)])
    path = tmp_path / "model.kprune"
    kprune.prune(model, 0.99)
    compressed.save_compressed(model, path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=f"Write limit_bytes={len(content)}"):
        compressed.load_compressed(path, limit_bytes=100)
    with pytest.raises(ValueError, match="the tensors would take"):
        compressed.load_compressed(path, limit_bytes=20_000)
    assert compressed.load_compressed(path, limit_bytes=120_400)


def test_code_of_the_file_runs_only_where_it_is_trusted(tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Lambda(lambda x: 2 * x), layers.Dense(2)])
    path = tmp_path / "lambda.kprune"
    compressed.save_compressed(model, path)
    with pytest.raises(ValueError, match="safe_mode"):
        compressed.load_compressed(path)
    loaded = compressed.load_compressed(path, safe_mode=False)
    np.testing.assert_array_equal(loaded(np.ones((1, 3))), model(np.ones((1, 3))))


def test_what_is_no_keras_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match="expected a keras.Model"):
        compressed.save_compressed(layers.Dense(2), tmp_path / "x")
