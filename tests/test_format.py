"""docs/format.md is enough to read a file: a decoder written from it reads what kprune writes.

The decoder goes bit by bit and symbol by symbol, in plain Python, and takes nothing from kprune.
"""

import itertools
import json
import math
import pathlib
import re
import struct
import zlib

import hypothesis
import keras
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from models import mlp

import kprune
from kprune.export import compressed
from kprune.export._compressed import coding
from kprune.export._compressed.coding import huffman
from kprune.training import weight_sharing

pytestmark = pytest.mark.quick

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "format.md"
VECTORS = {
    name: bytes.fromhex(text)
    for name, text in re.findall(r"^```text (\w+)\n(.*?)^```", PAGE.read_text(), re.M | re.S)
}


class Bytes:
    """What is left of some bytes."""

    def __init__(self, content):
        self.content = content

    def take(self, count):
        assert len(self.content) >= count
        piece, self.content = self.content[:count], self.content[count:]
        return piece

    def number(self, size):
        return int.from_bytes(self.take(size), "little")


def read_huffman(source):
    count, kinds = source.number(8), source.number(2)
    halves = [half for byte in source.take((kinds + 1) // 2) for half in (byte >> 4, byte & 15)]
    lengths = {symbol: length for symbol, length in enumerate(halves[:kinds]) if length}
    if len(lengths) == 1:
        return list(lengths) * count
    if not count:
        return []
    codes, code, before = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in lengths.items()):
        code = code << (length - before)
        codes[f"{code:0{length}b}"] = symbol
        code, before = code + 1, length
    assert sum(0.5**length for length in lengths.values()) == 1
    lanes = [source.number(2) for _ in range(math.ceil(count / 1024))]
    bits = "".join(f"{byte:08b}" for byte in source.take(math.ceil(sum(lanes) / 8)))
    found, start = [], 0
    for lane in lanes:
        word, symbols = "", []
        for bit in bits[start : start + lane]:
            word += bit
            if word in codes:
                symbols.append(codes[word])
                word = ""
        assert not word and len(symbols) == min(1024, count - len(found))
        found += symbols
        start += lane
    return found


def read_coded(source, size, count):
    book = [source.number(size) for _ in range(source.number(2))]
    symbols = read_huffman(source)
    assert len(symbols) == count
    return [book[symbol] for symbol in symbols]


def read_places(source):
    skip = (1 << source.number(1)) - 1
    place, found = 0, []
    for symbol in read_huffman(source):
        place += symbol
        if symbol < skip:
            found.append(place)
            place += 1
    return found


def read_array(content, kind, shape):
    source, size, count = Bytes(content), int(kind[2:]), math.prod(shape)
    form = source.number(1)
    places = read_places(source) if form in (2, 3) else list(range(count))
    if form in (0, 2):
        values = [source.number(size) for _ in places]
    else:
        values = read_coded(source, size, len(places))
    assert not source.content
    whole = [0] * count
    for place, value in zip(places, values, strict=True):
        whole[place] = value
    return b"".join(value.to_bytes(size, "little") for value in whole)


def read_file(content):
    assert content[:6] == b"kprune"
    version, length, packed, plain = struct.unpack("<HQQQ", content[6:32])
    assert (version, length) == (1, len(content))
    assert zlib.crc32(content[:-4]) == struct.unpack("<I", content[-4:])[0]
    text = zlib.decompress(content[32 : 32 + packed])
    assert len(text) == plain
    directory = json.loads(text)
    ends = list(itertools.accumulate(directory["lengths"], initial=32 + packed))
    assert ends[-1] == len(content) - 4
    sections = [content[start:end] for start, end in itertools.pairwise(ends)]
    count = len(directory["assets"])
    assets = {
        path: zlib.decompress(section)
        for (path, _), section in zip(directory["assets"], sections[:count], strict=True)
    }
    tensors = {
        path: read_array(section, kind, shape)
        for (path, kind, _, shape), section in zip(
            directory["tensors"], sections[count:], strict=True
        )
    }
    return directory["config"], assets, tensors


def test_the_vectors_are_read_as_the_page_says():
    assert read_huffman(Bytes(VECTORS["huffman"])) == [3, 0, 0, 3, 1]
    expected = struct.pack("<10f", *[0.0] * 9, 1.5)
    assert read_array(VECTORS["sparse"], "<f4", [10]) == expected
    assert read_file(VECTORS["file"]) == ({}, {}, {"a": expected})


def test_kprune_writes_and_reads_the_vectors():
    assert huffman.encode(np.array([3, 0, 0, 3, 1])) == VECTORS["huffman"]
    array = np.array([0] * 9 + [1.5], "<f4")
    assert coding.encode(array).content == VECTORS["sparse"]
    assert coding.decode(VECTORS["sparse"], "<f4", (10,)).tolist() == array.tolist()


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    kind=st.sampled_from(["|b1", "|i1", "<u2", "<f2", "<f4", "<f8", "<i8"]),
    count=st.integers(0, 3000),
    kinds=st.integers(1, 400),
    zeros=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_arrays_are_read_bit_for_bit(kind, count, kinds, zeros, seed):
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(kinds)[generator.integers(0, kinds, count)] * 100
    array = np.where(generator.random(count) < zeros, 0, values).astype(kind)
    assert read_array(coding.encode(array).content, kind, [count]) == array.tobytes()


def test_files_of_kprune_are_read(tmp_path):
    model = mlp()
    kprune.prune(model, 0.7)
    weight_sharing.share_weights(model, 3)
    path = tmp_path / "model.kprune"
    compressed.save_compressed(model, path)
    config, assets, tensors = read_file(path.read_bytes())
    assert config["class_name"] == "Sequential" and not assets
    stored = {np.asarray(each).tobytes() for each in model.weights if each.shape}
    assert stored <= set(tensors.values())


def test_assets_and_other_types_are_read(tmp_path):
    lookup = keras.layers.StringLookup()
    lookup.adapt(["some words", "words"])
    text = keras.Input((1,), dtype="string")
    embed = keras.layers.Embedding(3, 4, dtype="bfloat16")
    model = keras.Model(text, embed(lookup(text)))
    path = tmp_path / "model.kprune"
    compressed.save_compressed(model, path)
    _, assets, tensors = read_file(path.read_bytes())
    assert any(b"some words" in content for content in assets.values())
    values = np.asarray(embed.embeddings).astype(ml_dtypes.bfloat16)
    assert values.tobytes() in tensors.values()
