"""The cut against a literal transcription of its definition."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kprune._selection import scores, threshold

pytestmark = pytest.mark.quick

DTYPES = ["float16", ml_dtypes.bfloat16, "float32", "float64"]


def by_definition(parts, count):
    """Sorts everything: lowest first, and among ties the highest flat index first."""
    ranked = []
    for number, part in enumerate(parts):
        values = np.asarray(part.scores, np.float64).reshape(-1) / part.divisor
        for place, value in enumerate(values):
            if part.eligible is None or part.eligible.reshape(-1)[place]:
                spared = part.protected is not None and bool(part.protected.reshape(-1)[place])
                ranked.append(((spared, value, -number, -place), number, place))
    keeps = [np.zeros(part.scores.size, bool) for part in parts]
    for _, number, place in sorted(ranked)[count:]:
        keeps[number][place] = True
    return keeps


@st.composite
def cuts(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        shape = draw(st.sampled_from([(0,), (1,), (7,), (5, 4), (2, 3, 3)]))
        dtype = draw(st.sampled_from(DTYPES))
        coarse = draw(st.booleans())
        values = generator.normal(size=shape) * 3
        values = np.round(values) if coarse else values  # many ties, -0.0 among them
        part = scores.ScoredTensor(
            values.astype(dtype),
            eligible=generator.random(shape) < 0.7 if draw(st.booleans()) else None,
            protected=generator.random(shape) < 0.4 if draw(st.booleans()) else None,
            divisor=draw(st.sampled_from([1.0, 0.3, 7.0])),
        )
        parts.append(part)
    return parts, draw(st.integers(0, 60))


@given(cuts())
@settings(max_examples=300, deadline=None)
def test_cut_is_the_definition(case):
    parts, count = case
    found = threshold.find_threshold(parts, count)
    for index, keep in enumerate(by_definition(parts, count)):
        np.testing.assert_array_equal(found.survivors(index).reshape(-1), keep)
        assert found.survivors(index).shape == parts[index].scores.shape


LARGE = {
    "normal": lambda g, n: g.standard_normal(n),
    "coarse": lambda g, n: g.integers(0, 5, n),
    "mostly zero": lambda g, n: np.where(g.random(n) < 0.95, 0, g.standard_normal(n)),
    "constant": lambda g, n: np.ones(n),
    "wide": lambda g, n: np.exp(20 * g.standard_normal(n)),
    "one outlier": lambda g, n: np.eye(1, n)[0],
    "infinite": lambda g, n: np.where(g.random(n) < 0.5, np.inf, -np.inf),
}


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.97, 1.0])
def test_cut_of_many_scores(kind, dtype, fraction):
    """Beyond the sample's size the bracket is at work; a stable sort is the reference."""
    generator = np.random.default_rng(1)
    with np.errstate(over="ignore"):  # a float16 of the wide kind is infinite
        arrays = [LARGE[kind](generator, n).astype(dtype) for n in (40_000, 100, 25_000)]
    together = np.concatenate(arrays).astype(np.float64)
    count = round(fraction * together.size)
    keep = np.ones(together.size, bool)
    keep[np.lexsort((-np.arange(together.size), together))[:count]] = False
    found = threshold.find_threshold([scores.ScoredTensor(each) for each in arrays], count)
    ours = np.concatenate([found.survivors(index) for index in range(3)])
    np.testing.assert_array_equal(ours, keep)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), min_size=1, max_size=30),
    st.integers(0, 120),
)
@settings(deadline=None)
def test_groups_fall_whole_and_nearest(groups, count):
    values, sizes = (np.array(each) for each in zip(*groups, strict=True))
    keep = threshold.find_threshold(
        [scores.ScoredTensor(values.astype("float32"), sizes=sizes)], count
    ).survivors(0)
    order = np.lexsort((-np.arange(values.size), values))  # the order in which groups fall
    fallen = ~keep[order]
    assert not np.any(fallen[1:] & ~fallen[:-1])  # a prefix of that order
    reach = np.concatenate([[0], np.cumsum(sizes[order])])
    assert abs(reach[fallen.sum()] - count) == np.abs(reach - count).min()


def test_lazy_scores_equal_whole_ones():
    values = np.random.default_rng(2).standard_normal((300, 200)).astype("float32")
    lazy = scores.LazyScores(np.abs, lambda: values)
    assert (lazy.shape, lazy.size, lazy.dtype) == ((300, 200), 60_000, np.float32)
    ours = threshold.find_threshold([scores.ScoredTensor(lazy)], 50_000).survivors(0)
    np.testing.assert_array_equal(
        ours, threshold.find_threshold([scores.ScoredTensor(np.abs(values))], 50_000).survivors(0)
    )
    assert (~ours).sum() == 50_000
    assert np.abs(values[~ours]).max() <= np.abs(values[ours]).min()


def test_order_within_a_class_survives_its_divisor():
    """Neighbouring float32 numbers stay apart in units of their own."""
    values = np.nextafter(np.float32(1), np.float32([2, 3, 0, 0.5]))
    values = np.array([values[0], 1, values[2]], np.float32)  # falling by one ulp each
    keep = threshold.find_threshold([scores.ScoredTensor(values, divisor=3.7)], 1).survivors(0)
    np.testing.assert_array_equal(keep, [True, True, False])


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_is_an_error_that_names_the_weight(dtype):
    bad = np.ones(5, dtype)
    bad[3] = np.nan
    good = scores.ScoredTensor(np.ones(3, dtype), name="good/kernel")
    with pytest.raises(ValueError, match="scores of bad/kernel hold NaN"):
        threshold.find_threshold([good, scores.ScoredTensor(bad, name="bad/kernel")], 2)
    with pytest.raises(ValueError, match="scores of bad/kernel hold NaN"):
        threshold.find_threshold(
            [scores.ScoredTensor(bad, name="bad/kernel")], 5
        )  # nothing to rank: all are to fall
    alive = np.array([True, True, True, False, True])
    found = threshold.find_threshold(
        [scores.ScoredTensor(bad, eligible=alive)], 2
    )  # what is gone is not looked at
    np.testing.assert_array_equal(found.survivors(0), [True, True, False, False, False])
