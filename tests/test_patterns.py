"""Patterns: what falls together, on shapes that divide and shapes that do not."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kprune import patterns
from kprune._masking import locations
from kprune._selection import scores, threshold

pytestmark = pytest.mark.quick

MEMBERS = {
    "unstructured": patterns.Unstructured(),
    "block": patterns.Block((4, 1)),
    "block_max": patterns.Block((3, 2), pooling="max"),
    "channel": patterns.Channel(),
    "nm": patterns.NM(2, 4),
    "nm_1_3": patterns.NM(1, 3),
}
SHAPES = [(8, 4), (7, 5), (1, 1), (3, 3, 2, 6), (5, 2, 3)]


def view_of(shape):
    return patterns.MatrixView(shape, tuple(range(len(shape) - 1)), (len(shape) - 1,))


def prune(pattern, values, count, eligible=None):
    view = view_of(values.shape)
    part = pattern.piece_scores(scores.ScoredTensor(np.abs(values), eligible), view)
    return pattern.weight_mask(threshold.find_threshold([part], count).survivors(0), view)


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_every_pattern_on_every_shape(name, shape, sparsity):
    pattern = MEMBERS[name]
    values = np.random.default_rng(0).standard_normal(shape).astype("float32")
    count = round(sparsity * values.size)
    keep = prune(pattern, values, count)
    assert keep.shape == shape and keep.dtype == bool
    piece = {"block": 4, "block_max": 6, "channel": values.size // shape[-1]}.get(name, 1)
    assert abs((~keep).sum() - count) <= piece / 2
    if sparsity == 0:
        assert keep.all()
    if sparsity == 1:
        assert not keep.any()


def test_blocks_fall_by_their_mean():
    values = np.arange(1, 41, dtype="float32").reshape(8, 5)
    keep = prune(patterns.Block((4, 1)), values, 20)
    means = values.reshape(2, 4, 5).mean(axis=1)
    lowest = means <= np.sort(means.reshape(-1))[4]
    np.testing.assert_array_equal(keep, ~lowest.repeat(4, axis=0))


def test_max_and_mean_differ():
    values = np.array([[9, 4], [0, 4]], "float32")  # columns: max 9 and 4, mean 4.5 and 4
    values[1, 0] = -1.5  # magnitudes 9 and 1.5: mean 5.25
    low_mean = np.array([[9, 6], [0, 6]], "float32")  # mean 4.5 and 6, max 9 and 6
    assert prune(patterns.Block((2, 1), "mean"), low_mean, 2)[0].tolist() == [False, True]
    assert prune(patterns.Block((2, 1), "max"), low_mean, 2)[0].tolist() == [True, False]


def test_a_block_that_does_not_fit_is_smaller():
    values = np.ones((5, 3), "float32")
    values[4] = 0.1  # the last row is a block of its own, three of them
    keep = prune(patterns.Block((4, 1)), values, 3)
    np.testing.assert_array_equal(keep, values == 1)


@given(
    st.integers(1, 13),
    st.integers(1, 4),
    st.sampled_from([(2, 4), (1, 4), (1, 2), (3, 5)]),
    st.integers(0, 2**32),
)
@settings(deadline=None)
def test_nm_keeps_the_best_of_each_group(rows, columns, ratio, seed):
    n, m = ratio
    generator = np.random.default_rng(seed)
    values = np.round(generator.standard_normal((rows, columns)), 1)
    target = sum(-(-n * len(range(i, min(i + m, rows))) // m) for i in range(0, rows, m))
    keep = prune(patterns.NM(n, m), values, (rows - target) * columns)
    for start in range(0, rows, m):
        group, kept = np.abs(values[start : start + m]), keep[start : start + m]
        size = -(-n * len(group) // m)
        for column in range(columns):
            best = sorted(range(len(group)), key=lambda i: (-group[i, column], i))[:size]
            assert sorted(best) == np.flatnonzero(kept[:, column]).tolist()


def test_nm_follows_a_schedule():
    """Below 1 - n/m only candidates fall, the lowest first; beyond it groups stay within n:m."""
    values = np.random.default_rng(3).standard_normal((16, 8))
    final = prune(patterns.NM(2, 4), values, 64)
    assert (final.reshape(4, 4, 8).sum(axis=1) == 2).all()
    half = prune(patterns.NM(2, 4), values, 30)
    assert (~half).sum() == 30 and not (~half & final).any()
    candidates = np.abs(np.where(final, np.inf, values))
    assert candidates[~half].max() <= candidates[half].min()
    beyond = prune(patterns.NM(2, 4), values, 100)
    assert (~beyond).sum() == 100 and not (beyond & ~final).any()


def test_what_is_gone_does_not_count():
    """A block whose weights are all gone is out; one with a few left weighs what is left."""
    values = np.ones((8, 1), "float32")
    alive = np.array([[0], [0], [0], [0], [1], [0], [0], [1]], bool)
    part = patterns.Block((4, 1)).piece_scores(scores.ScoredTensor(values, alive), view_of((8, 1)))
    assert part.sizes.tolist() == [[0], [2]] and part.eligible.tolist() == [[False], [True]]
    assert part.scores[1, 0] == 1


def view_in(layer, shape, name="kernel"):
    layer.build(shape)
    return next(s for s in locations.locate(layer) if s.variable.name.endswith(name)).view


def test_matrix_views_of_layers():
    layers = keras.layers
    assert view_in(layers.Dense(5), (None, 3)).matrix(np.zeros((3, 5))).shape == (3, 5)
    conv = view_in(layers.Conv2D(7, 3), (None, 8, 8, 2))
    kernel = np.arange(3 * 3 * 2 * 7).reshape(3, 3, 2, 7)
    np.testing.assert_array_equal(conv.matrix(kernel), kernel.reshape(18, 7))
    transposed = view_in(layers.Conv2DTranspose(7, 3), (None, 8, 8, 2))  # (3, 3, output, input)
    assert transposed.matrix(np.zeros((3, 3, 7, 2))).shape == (18, 7)
    depthwise = view_in(layers.DepthwiseConv2D(3), (None, 8, 8, 5))
    assert depthwise.matrix(np.zeros((3, 3, 5, 1))).shape == (9, 5)
    separable = view_in(layers.SeparableConv2D(4, 3), (None, 8, 8, 5), "pointwise_kernel")
    assert separable.matrix(np.zeros((1, 1, 5, 4))).shape == (5, 4)
    query = view_in(layers.EinsumDense("abc,cde->abde", (None, 2, 4)), (None, 6, 8))
    assert query.matrix(np.zeros((8, 2, 4))).shape == (8, 8)
    output = view_in(layers.EinsumDense("abcd,cde->abe", (None, 9)), (None, 6, 2, 4))
    kernel = np.random.default_rng(0).standard_normal((2, 4, 9))
    np.testing.assert_array_equal(output.matrix(kernel), kernel.reshape(8, 9))
    turned = view_in(layers.EinsumDense("ab,cb->ac", (9,)), (None, 4))  # kernel [output, input]
    kernel = np.random.default_rng(0).standard_normal((9, 4))
    np.testing.assert_array_equal(turned.matrix(kernel), kernel.T)
    np.testing.assert_array_equal(turned.kernel(kernel.T), kernel)


def test_names_stand_for_patterns():
    assert patterns.get("tflite_float32") == patterns.Block((4, 1))
    assert patterns.get("tflite_int8") == patterns.get("tflite_dynamic") == patterns.Block((16, 1))
    assert patterns.get("xnnpack_1x1") == patterns.Block((1, 4))
    assert patterns.get("1:4") == patterns.NM(1, 4)
    assert patterns.get("channel") == patterns.Channel()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: patterns.Block((4, 0)), "Write Block"),
        (lambda: patterns.Block(4), "Write Block"),
        (lambda: patterns.Block((4, 1), "sum"), 'Write pooling="mean"'),
        (lambda: patterns.NM(4, 4), r"Write NM\(2, 4\)"),
        (lambda: patterns.get("4:2"), r"Write NM\(2, 4\)"),
        (lambda: patterns.get("blocks"), "names no pattern"),
    ],
)
def test_bad_patterns_say_what_to_write(make, message):
    with pytest.raises(ValueError, match=message):
        make()
