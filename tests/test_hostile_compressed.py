"""A .kprune file made to harm takes no more than the limit, and raises nothing undocumented."""

import os
import struct
import tracemalloc
import zlib

import keras
import pairwise
import pytest
from attacks import LIMIT, dense

from kprune import export
from kprune.export._compressed import container


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


FRACTIONS = [1.0, 0.04]


@pytest.mark.parametrize(
    ("kind", "fraction"),
    pairwise.quick_or_slow(pairwise.each_once(list(CHEAP), FRACTIONS), CHEAP, FRACTIONS),
)
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
