"""Optimal Brain Surgeon of whole blocks, beside one inversion after another."""

import keras
import numpy as np
import pytest
from models import compiled

import kprune
from kprune._second_order.loss_models import blockwise, full, loss_model
from kprune._second_order.solvers import block_obs

layers = keras.layers


@pytest.fixture
def layer():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((60, 22)) @ generator.standard_normal((22, 22))
    return 2 * x.T @ x / 60 + 0.1 * np.eye(22), generator.standard_normal((22, 10))


def greedy(hessian, columns, blocks):
    """Eliminates the cheapest block, inverts what is left, and so on: no update of anything.

    The cost of a block is what the best survivors without it and those before it lose, less what
    the best without those before it lose.
    """

    def lost(gone):
        """`min |v - w|_H^2 / 2` over v that is zero there, for each column."""
        if not gone:
            return 0.0
        inner = np.linalg.inv(hessian)[np.ix_(gone, gone)]
        return sum(w[gone] @ np.linalg.solve(inner, w[gone]) for w in columns.T) / 2

    gone, left, costs = [], list(range(len(blocks))), {}
    while left:
        now = lost(gone)
        each = [lost(gone + list(blocks[b])) - now for b in left]
        best = left.pop(int(np.argmin(each)))
        costs[best] = min(each)
        gone += list(blocks[best])
    return costs


@pytest.mark.parametrize("panel", [128, 4])
@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (3, 2), (22, 1), (30, 3)], ids=str)
def test_blocks_are_eliminated_in_greedy_order(layer, shape, panel, monkeypatch):
    monkeypatch.setattr(block_obs, "PANEL_ROWS", panel)
    hessian, matrix = layer
    found = block_obs.compute_costs(hessian, matrix, shape)
    rows = [range(i, min(22, i + shape[0])) for i in range(0, 22, shape[0])]
    for start in range(0, 10, shape[1]):
        band = matrix[:, start : start + shape[1]]
        top = 0.0
        for block, cost in greedy(hessian, band, rows).items():
            size = len(rows[block]) * band.shape[1]
            top = max(top, cost / size)
            values = found[rows[block].start : rows[block].stop, start : start + band.shape[1]]
            np.testing.assert_allclose(values, top, rtol=1e-7)


def test_pruned_weights_are_no_part_of_a_block(layer):
    hessian, matrix = layer
    alive = np.ones(matrix.shape, bool)
    alive[[0, 1, 2, 3, 9]] = False
    found = block_obs.compute_costs(hessian, matrix, (4, 1), alive)
    here = np.flatnonzero(alive[:, 0])
    rows = [
        np.searchsorted(here, [r for r in range(i, min(22, i + 4)) if r in here])
        for i in range(0, 22, 4)
    ]
    blocks = [block for block in rows if len(block)]
    top = 0.0
    for block, cost in greedy(hessian[np.ix_(here, here)], matrix[here, :1], blocks).items():
        top = max(top, cost / len(blocks[block]))
        np.testing.assert_allclose(found[here[blocks[block]], 0], top, rtol=1e-7)


def test_blocks_of_columns_follow_their_numbers(layer):
    """Columns of one group of a convolution need not begin a band."""
    hessian, matrix = layer
    found = block_obs.compute_costs(hessian, matrix[:, 2:7], (2, 4), columns=np.arange(2, 7))
    for band in (slice(0, 2), slice(2, 5)):
        alone = block_obs.compute_costs(hessian, matrix[:, 2:7][:, band], (2, 4))
        np.testing.assert_allclose(found[:, band], alone, rtol=1e-9)


PATTERNS = [kprune.patterns.Block((4, 1)), kprune.patterns.Block((2, 2)), "channel"]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_prune_takes_the_cheapest_blocks(pattern):
    """Through `prune`, to less error than single costs pooled over the same blocks."""
    generator = np.random.default_rng(0)
    mixing = (
        np.sqrt(np.arange(1, 33) ** -1.0)[:, None]
        * np.linalg.qr(generator.normal(size=(32, 32)))[0]
    )
    x = (generator.normal(size=(400, 32)) @ mixing).astype("float32")
    w = generator.standard_t(3, size=(32, 16)).astype("float32")

    def error(criterion):
        model = keras.Sequential([keras.Input((32,)), layers.Dense(16, use_bias=False)])
        model.layers[0].kernel.assign(w)
        kprune.wrap(model, pattern=pattern)
        report = kprune.prune(model, 0.5, criterion, refit=kprune.refits.LeastSquares(x))
        assert report.sparsity == 0.5
        return float(((x @ (np.asarray(model.layers[0].kernel) - w)) ** 2).sum())

    ours = error(kprune.criteria.OBS(x, damping=0.01))
    assert ours <= error("magnitude") and ours <= error(kprune.criteria.Wanda(x))


@pytest.mark.parametrize("hessian", ["full", "block"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_costs_of_blocks_from_the_loss(hessian, pattern, monkeypatch):
    """`w_B^T ((alpha I + sum r r^T / n)^-1_BB)^-1 w_B / 2`, from the inverse as a whole."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 5)).astype("float32")
    y = generator.normal(size=(40, 4)).astype("float32")
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4, use_bias=False)])
    compiled_model = compiled(model)
    compiled_model.compile("sgd", "mse")
    kprune.wrap(model, pattern=pattern)
    kernel = np.array(kprune.masked_weights(model)[0].values(), np.float64)
    seen = {}
    for kind in (full.FullLoss, blockwise.BlockwiseLoss):
        own = kind.compute_costs

        def compute_costs(self, weight, own=own):
            seen["costs"] = own(self, weight)
            return seen["costs"]

        monkeypatch.setattr(kind, "compute_costs", compute_costs)
    criterion = kprune.criteria.OBS((x, y), hessian=hessian, damping=0.1, block_size=20)
    kprune.prune(model, 0.25, criterion)
    # The Hessian of the mean squared error: 2 x x^T / outputs for each output.
    curvature = np.kron(2 * x.T.astype(np.float64) @ x / 40 / 4, np.eye(4))  # [input, output]
    curvature += 0.1 * np.diagonal(curvature).mean() * np.eye(20)
    inverse = np.linalg.inv(curvature)
    weight = kprune.masked_weights(kprune.wrap(model, pattern=pattern))[0]
    for block in loss_model.find_blocks(weight):
        at = block[block >= 0]
        w = kernel.reshape(-1)[at]
        expected = w @ np.linalg.solve(inverse[np.ix_(at, at)], w) / 2 / len(at)
        np.testing.assert_allclose(seen["costs"].reshape(-1)[at], expected, rtol=1e-4)
