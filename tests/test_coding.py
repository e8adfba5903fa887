"""Coding: every array comes back bit for bit, codes are the shortest there are, damage is told."""

import heapq
import itertools
import tracemalloc

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kprune.export._compressed import coding
from kprune.export._compressed.coding import bits, gaps, huffman, reader

pytestmark = pytest.mark.quick

FIBONACCI = np.array([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584])
NOISE = np.random.default_rng(0).standard_normal(3000)
fast = hypothesis.settings(max_examples=60, deadline=None)


def bit_string(symbols):
    """What should be packed, one symbol after another, by Python's own numbers."""
    counts = np.bincount(symbols)
    lengths = huffman.code_lengths(counts)
    codes = huffman.assign_codes(lengths)
    return "".join(f"{codes[each]:0{lengths[each]}b}" for each in symbols)


def as_bytes(text):
    """Bits as bytes, zeros after the end."""
    whole = -(-len(text) // 8)
    return int(text.ljust(8 * whole, "0"), 2).to_bytes(whole, "big")


def test_codes_are_those_of_deflate():
    """The example of RFC 1951, section 3.2.2."""
    codes = huffman.assign_codes(np.array([3, 3, 3, 3, 3, 2, 4, 4]))
    assert codes.tolist() == [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]


@fast
@hypothesis.given(st.lists(st.integers(0, 50), min_size=2, max_size=40))
def test_lengths_are_as_short_as_huffman_s(counts):
    """Huffman's algorithm with a heap: the total is the sum of all merged weights."""
    heap = [each for each in counts if each]
    hypothesis.assume(len(heap) > 1)
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    lengths = huffman.code_lengths(np.array(counts))
    assert lengths.astype(int) @ np.array(counts) == total
    assert sum(2.0 ** -int(each) for each in lengths if each) == 1


@pytest.mark.parametrize("counts", [[1, 1, 2, 3, 5, 8], [1, 1, 1, 1, 50, 90], [7, 1, 40, 3, 3, 9]])
def test_limited_lengths_are_the_best_of_all(counts, monkeypatch):
    monkeypatch.setattr(huffman, "MAX_BITS", 4)
    best = min(
        np.dot(counts, each)
        for each in itertools.product(range(1, 5), repeat=6)
        if sum(2.0**-length for length in each) <= 1
    )
    assert np.dot(counts, huffman.code_lengths(np.array(counts)).astype(int)) == best


def test_no_code_is_longer_than_15_bits():
    """Fibonacci numbers make the deepest trees: 17 bits for 18 symbols, were there no limit."""
    lengths = huffman.code_lengths(FIBONACCI)
    assert lengths.max() == 15
    assert sum(2.0 ** -int(each) for each in lengths) == 1


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 1000])
def test_bits_are_packed_as_a_string_is(count):
    generator = np.random.default_rng(count)
    lengths = generator.integers(1, 16, count)
    codes = generator.integers(0, 1 << 15, count) & ((1 << lengths) - 1)
    text = "".join(f"{code:0{length}b}" for code, length in zip(codes, lengths, strict=True))
    assert bits.pack(codes, lengths) == as_bytes(text)


@pytest.mark.parametrize("count", [0, 1, 2, 1023, 1024, 1025, 5000])
def test_symbols_come_back(count):
    symbols = np.random.default_rng(count).geometric(0.3, count) - 1
    content = huffman.encode(symbols)
    np.testing.assert_array_equal(huffman.decode(reader.ByteReader(content), count), symbols)
    assert 8 * len(content) == huffman.count_bits(np.bincount(symbols))
    if len(set(symbols.tolist())) > 1:
        assert content.endswith(as_bytes(bit_string(symbols)))


def test_gaps_of_the_paper():
    """Figure 2 of Deep Compression: weights at 1, 4 and 15, three bits, one filler."""
    symbols = gaps.to_symbols(gaps.count_gaps(np.array([1, 4, 15])), bits=3)
    assert symbols.tolist() == [1, 2, 7, 3]
    assert gaps.to_places(symbols, bits=3, size=16).tolist() == [1, 4, 15]


@fast
@hypothesis.given(st.sets(st.integers(0, 3000), min_size=1), st.integers(2, 8))
def test_places_come_back_through_fillers(places, width):
    where = np.array(sorted(places))
    between = gaps.count_gaps(where)
    symbols = gaps.to_symbols(between, width)
    np.testing.assert_array_equal(gaps.to_places(symbols, width, 3001), where)
    counts = np.bincount(symbols, minlength=1 << width)
    np.testing.assert_array_equal(gaps.count_symbols(between, width), counts)


@fast
@hypothesis.given(st.data())
def test_every_array_comes_back_bit_for_bit(data):
    dtype = data.draw(st.sampled_from(["f2", "f4", "f8", "i1", "u2", "i8", "?", ">f4"]))
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9))
    array = data.draw(hnp.arrays(dtype, shape))
    found = coding.decode(coding.encode(array).content, array.dtype, array.shape)
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (NOISE, "raw"),
        (np.abs(np.round(NOISE)), "codes"),
        (np.where(np.arange(3000) % 9, 0, NOISE), "sparse"),
        (np.where(np.arange(3000) % 9, 0, np.arange(3000) % 7 + 1), "sparse codes"),
        (np.zeros(3000), "sparse"),
    ],
)
def test_the_shortest_form_is_taken(values, form):
    array = values.astype("float32")
    encoded = coding.encode(array)
    assert encoded.form == form
    assert encoded.kept == np.count_nonzero(array)
    assert len(encoded.content) <= array.nbytes + 1
    assert coding.decode(encoded.content, "float32", array.shape).tobytes() == array.tobytes()


@pytest.mark.parametrize("value", [-0.0, np.nan, -np.inf, 1e-45])
def test_special_values_are_survivors(value):
    array = np.zeros(500, "float32")
    array[::50] = value
    encoded = coding.encode(array)
    assert encoded.kept == 10
    assert coding.decode(encoded.content, "float32", (500,)).tobytes() == array.tobytes()


def test_a_shared_sparse_array_takes_its_entropy():
    """Places of density d need H(d) bits each, codes their own entropy; Huffman's is near."""
    generator = np.random.default_rng(0)
    probabilities = np.exp(-(np.linspace(-2, 2, 32) ** 2))
    probabilities /= probabilities.sum()
    book = generator.standard_normal(32)
    array = generator.choice(book, 400_000, p=probabilities)
    array = np.where(generator.random(array.shape) < 0.08, array, 0).astype("float32")
    codes = -(probabilities * np.log2(probabilities)).sum() * 0.08
    places = -(0.08 * np.log2(0.08) + 0.92 * np.log2(0.92))
    least = 400_000 * (codes + places) / 8
    assert least < len(coding.encode(array).content) < 1.04 * least


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([1j]), np.array([None])])
def test_what_is_no_real_number_is_refused(array):
    with pytest.raises(TypeError, match="expected real numbers"):
        coding.encode(array)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from([3, 9, 1]))
def test_damage_is_an_error_or_another_array(place, byte, every):
    """Past the checksum, in a file made to harm: nothing but a ValueError, and no large memory."""
    array = np.where(np.arange(400) % every, 0, np.arange(400) % 11 + 1).astype("float32")
    content = bytearray(coding.encode(array).content)
    content[place % len(content)] = byte
    tracemalloc.start()
    try:
        found = coding.decode(bytes(content), "float32", (400,))
        assert found.shape == (400,)
    except ValueError as error:
        assert "save_compressed" in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20


@fast
@hypothesis.given(st.integers(0, 10_000))
def test_a_truncated_array_is_an_error(length):
    content = coding.encode(np.arange(600) % 7 * (np.arange(600) % 5 == 0)).content
    with pytest.raises(ValueError, match="save_compressed"):
        coding.decode(content[: length % len(content)], "int64", (600,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x07", "the form 7"),
        (b"\x02\x01", "1 bits"),
        (b"\x01\x01\x00" + bytes(4) + b"\xff" * 8 + b"\x01\x00\x10", "symbols"),
        (b"\x01\x02\x00" + bytes(8) + b"\x04" + bytes(7) + b"\x02\x00\x12", "no prefix code"),
        (b"\x00" + bytes(17), "left over"),
    ],
)
def test_a_content_made_to_harm_is_told(content, message):
    with pytest.raises(ValueError, match=message):
        coding.decode(content, "float32", (4,))
