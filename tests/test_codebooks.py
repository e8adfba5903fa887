"""Codebooks: against SciPy's k-means, the figure of the paper, and a search for the nearest."""

import numpy as np
import pytest
from scipy.cluster import vq

from kprune.training import codebooks

pytestmark = pytest.mark.quick

FIGURE = np.array(  # figure 3 of Deep Compression
    [
        [2.09, -0.98, 1.48, 0.09],
        [0.05, -0.14, -1.08, 2.12],
        [-0.91, 1.92, 0.0, -1.03],
        [1.87, 0.0, 1.53, 1.49],
    ]
)
CODES = [[3, 0, 2, 1], [1, 1, 0, 3], [0, 3, 1, 0], [3, 1, 2, 2]]


def values(count=4000):
    return np.random.default_rng(0).standard_normal(count)


def error(w, centroids):
    """The squared distance to the nearest centroid."""
    return (np.abs(w[:, None] - centroids).min(1) ** 2).sum()


def test_the_figure_of_the_paper():
    centroids = codebooks.fit(FIGURE, 4)
    np.testing.assert_allclose(centroids, [-1.0, 0.0, 1.5, 2.0], atol=1e-12)
    assert codebooks.assign(FIGURE, centroids).tolist() == CODES
    assert codebooks.ratio(16, 4, 32) == 3.2


@pytest.mark.parametrize("clusters", [1, 2, 5, 12])
@pytest.mark.parametrize("initialization", ["linear", "density"])
def test_centroids_are_those_of_scipy(clusters, initialization):
    w = values(500)
    starts = {
        "linear": np.linspace(w.min(), w.max(), clusters),
        "density": np.quantile(w, np.linspace(0, 1, clusters)),
    }
    expected, _ = vq.kmeans2(w, starts[initialization], iter=500, minit="matrix", missing="raise")
    found = codebooks.fit(w, clusters, initialization)
    np.testing.assert_allclose(found, np.sort(expected), atol=1e-9)


@pytest.mark.parametrize("initialization", codebooks.INITIALIZATIONS)
def test_each_centroid_is_the_mean_of_what_is_nearest(initialization):
    w = values()
    centroids = codebooks.fit(w, 16, initialization)
    nearest = np.abs(w[:, None] - centroids).argmin(1)
    np.testing.assert_array_equal(codebooks.assign(w, centroids), nearest)
    np.testing.assert_allclose([w[nearest == each].mean() for each in range(16)], centroids)


def test_starts_are_spread_as_they_say():
    w = np.sort(values())
    linear, density = (codebooks._start(w, 9, each, 0) for each in ("linear", "density"))
    np.testing.assert_allclose(np.diff(linear), np.ptp(w) / 8)
    below = [np.mean(w < each) for each in density]
    np.testing.assert_allclose(below, np.arange(9) / 8, atol=1e-3)
    drawn = codebooks._start(w, 9, "random", 1)
    assert set(drawn) <= set(w)
    np.testing.assert_array_equal(drawn, codebooks._start(w, 9, "random", 1))
    assert not np.array_equal(drawn, codebooks._start(w, 9, "random", 2))


def test_no_centroid_is_wasted_on_the_gap_that_pruning_leaves():
    """Of centroids spread evenly most lie where no weight is left."""
    w = values()
    w = w[np.abs(w) > 1.5]
    centroids = codebooks.fit(w, 16)
    assert len(np.unique(codebooks.assign(w, centroids))) == 16
    start = np.linspace(w.min(), w.max(), 16)
    used = start[np.unique(codebooks.assign(w, start))]
    plain, _ = vq.kmeans2(w, used, iter=500, minit="matrix", missing="raise")
    assert len(used) < 16
    assert error(w, centroids) < 0.7 * error(w, np.sort(plain))


def test_few_values_need_few_centroids():
    assert codebooks.fit(np.array([3.0, 1.0, 3.0]), 32).tolist() == [1.0, 3.0]
    assert codebooks.fit(np.full(7, -2.5), 8).tolist() == [-2.5]
    assert codebooks.fit(np.zeros(0), 8).tolist() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(3), 0), "clusters=0; expected a whole number, at least 1"),
        ((np.ones(3), 2, "uniform"), "initialization='uniform'; expected \"linear\""),
        ((np.array([1.0, np.nan]), 2), "infinite or NaN"),
        ((np.array([-np.inf, 1.0]), 2), "infinite or NaN"),
    ],
)
def test_errors_say_what_was_expected(arguments, message):
    with pytest.raises(ValueError, match=message):
        codebooks.fit(*arguments)
