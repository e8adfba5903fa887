"""Layer-wise reconstruction against brute force, closed forms and the identities of the papers."""

import numpy as np
import pytest

from kprune import patterns
from kprune._second_order.solvers import damping, exact_obs, least_squares, sparse_gpt

pytestmark = pytest.mark.quick


@pytest.fixture(params=[(24, 5), (7, 3)], ids=str)
def layer(request):
    """A Hessian of correlated inputs, and a matrix [input, output]."""
    rows, columns = request.param
    generator = np.random.default_rng(rows)
    x = generator.standard_normal((4 * rows, rows)) @ generator.standard_normal((rows, rows))
    return damping.add_damping(2 * x.T @ x / len(x), 0.01), generator.standard_normal(
        (rows, columns)
    )


def greedy(hessian, w):
    """Optimal Brain Surgeon as it is written down: order, costs, and the weights after each."""
    inverse, w = np.linalg.inv(hessian), w.astype(float).copy()
    left, order, costs, path = list(range(len(w))), [], [], []
    while left:
        saliency = {q: w[q] ** 2 / (2 * inverse[q, q]) for q in left}
        q = min(left, key=saliency.get)
        order.append(q)
        costs.append(saliency[q])
        w = w - w[q] / inverse[q, q] * inverse[:, q]
        inverse = inverse - np.outer(inverse[:, q], inverse[q]) / inverse[q, q]
        left.remove(q)
        w[order] = 0  # exactly, where rounding leaves a trace
        path.append(w.copy())
    return order, costs, path


def objective(hessian, before, after):
    return sum((a - b) @ hessian @ (a - b) / 2 for a, b in zip(after.T, before.T, strict=True))


@pytest.mark.parametrize("panel", [128, 5, 1])
def test_elimination_is_greedy_obs(layer, panel, monkeypatch):
    """Order and costs of every column, however many eliminations share a panel."""
    monkeypatch.setattr(exact_obs, "PANEL", panel)
    hessian, matrix = layer
    found = exact_obs.compute_costs(hessian, matrix)
    for column in range(matrix.shape[1]):
        order, costs, _ = greedy(hessian, matrix[:, column])
        assert list(np.argsort(found[:, column])) == order
        np.testing.assert_allclose(found[order, column], np.maximum.accumulate(costs), rtol=1e-9)


@pytest.mark.parametrize("panel", [128, 3])
def test_elimination_leaves_the_dead_out(layer, panel, monkeypatch):
    monkeypatch.setattr(exact_obs, "PANEL", panel)
    hessian, matrix = layer
    alive = np.random.default_rng(1).random(matrix.shape) < 0.6
    alive[:, 0] = True
    alive[:, 1] = False
    found = exact_obs.compute_costs(hessian, np.where(alive, matrix, 0), alive)
    for column in range(matrix.shape[1]):
        here = np.flatnonzero(alive[:, column])
        order, costs, _ = greedy(hessian[np.ix_(here, here)], matrix[here, column])
        assert list(np.argsort(found[here, column])) == order
        expected = np.maximum.accumulate(costs) if costs else costs
        np.testing.assert_allclose(found[here[order], column], expected, rtol=1e-9)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8)])
def test_elimination_by_groups(layer, n, m):
    """Until every group is n:m, no group loses more than m - n; the last one in proportion."""
    hessian, matrix = layer
    rows = len(matrix)
    sizes = [min(m, rows - start) for start in range(0, rows, m)]
    keep = [-(-n * size // m) for size in sizes]
    found = exact_obs.compute_costs(hessian, matrix, n_of_m=(n, m))
    for column in found.T:
        first = np.argsort(column)[: rows - sum(keep)]
        left = np.ones(rows, bool)
        left[first] = False
        assert [left[i * m : i * m + m].sum() for i in range(len(sizes))] == keep


def test_least_squares_is_the_restricted_solution(layer):
    hessian, matrix = layer
    generator = np.random.default_rng(2)
    for density in (0.1, 0.5, 0.9):  # from the survivors' side and from the fallen ones'
        keep = generator.random(matrix.shape) < density
        found = least_squares.solve(hessian, matrix, keep)
        assert not found[~keep].any()
        for column in range(matrix.shape[1]):
            s = keep[:, column]
            expected = np.linalg.solve(hessian[np.ix_(s, s)], (hessian @ matrix[:, column])[s])
            np.testing.assert_allclose(found[s, column], expected, rtol=1e-9, atol=1e-9)


def test_least_squares_is_the_end_of_greedy_elimination(layer):
    """The set form of OBS: one restricted solve, or one deletion after another."""
    hessian, matrix = layer
    for column in range(matrix.shape[1]):
        order, _, path = greedy(hessian, matrix[:, column])
        for gone in (1, len(order) // 2, len(order) - 1):
            keep = np.ones((len(matrix), 1), bool)
            keep[order[:gone]] = False
            found = least_squares.solve(hessian, matrix[:, [column]], keep)
            np.testing.assert_allclose(found[:, 0], path[gone - 1], rtol=1e-8, atol=1e-9)


def test_a_quadratic_loss_in_closed_form():
    """At the optimum of |Aw - b|^2 / 2 the loss grows by L_q, to the least squares without q."""
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((30, 8)), generator.standard_normal(30)
    w = np.linalg.lstsq(a, b, rcond=None)[0]
    hessian = a.T @ a

    def loss(v):
        return np.sum((a @ v - b) ** 2) / 2

    costs = exact_obs.compute_costs(hessian, w[:, None])[:, 0]
    q = int(costs.argmin())
    keep = np.arange(8)[:, None] != q
    after = least_squares.solve(hessian, w[:, None], keep)[:, 0]
    assert loss(after) - loss(w) == pytest.approx(costs[q], rel=1e-12)
    others = np.delete(a, q, axis=1)
    expected = np.insert(np.linalg.lstsq(others, b, rcond=None)[0], q, 0.0)
    np.testing.assert_allclose(after, expected, atol=1e-12)


def test_the_factor_is_that_of_the_inverse(layer):
    hessian, _ = layer
    upper = sparse_gpt.factor(hessian)
    np.testing.assert_array_equal(upper, np.triu(upper))
    np.testing.assert_allclose(upper.T @ upper, np.linalg.inv(hessian), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("slab", [128, 4])
def test_a_sweep_moves_what_is_to_come(layer, slab, monkeypatch):
    """Each pruned row's error is made good, as well as can be, by the rows after it."""
    monkeypatch.setattr(sparse_gpt, "BLOCK_ROWS", slab)
    hessian, matrix = layer
    keep = np.random.default_rng(3).random(matrix.shape) < 0.5
    expected = matrix.copy()
    rows = len(matrix)
    for column in range(matrix.shape[1]):
        v, w = expected[:, column], matrix[:, column]
        for i in range(rows):
            if keep[i, column]:
                continue
            v[i] = 0
            done, rest = np.arange(i + 1), np.arange(i + 1, rows)
            push = hessian[np.ix_(rest, done)] @ (v[done] - w[done])
            v[rest] = w[rest] - np.linalg.solve(hessian[np.ix_(rest, rest)], push)
    _, mask, found = sparse_gpt.sweep(sparse_gpt.factor(hessian), matrix, keep)
    np.testing.assert_array_equal(mask, keep)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


def test_a_sweep_chooses_the_lowest_of_each_slab(monkeypatch):
    """With a diagonal Hessian nothing moves: w^2 h decides, to the wanted part of each slab."""
    monkeypatch.setattr(sparse_gpt, "BLOCK_ROWS", 8)
    generator = np.random.default_rng(4)
    h, matrix = generator.random(20) + 0.5, generator.standard_normal((20, 6))
    scores, keep, values = sparse_gpt.sweep(sparse_gpt.factor(np.diag(h)), matrix, 0.75)
    expected = matrix**2 * h[:, None]
    for start, stop in ((0, 8), (8, 16), (16, 20)):
        here = slice(start, stop)
        fallen = np.sort(expected[here], axis=None)[: round(0.75 * 6 * (stop - start))]
        np.testing.assert_array_equal(keep[here], expected[here] > fallen[-1])
        np.testing.assert_allclose(scores[here], expected[here] / fallen[-1], rtol=1e-6)
    np.testing.assert_allclose(values, matrix * keep)


@pytest.mark.parametrize("pattern", [patterns.NM(2, 4), patterns.Block((4, 1))])
def test_a_sweep_keeps_to_a_pattern(pattern):
    generator = np.random.default_rng(5)
    x = generator.standard_normal((200, 32))
    matrix = generator.standard_normal((32, 6))
    upper = sparse_gpt.factor(2 * x.T @ x / 200)
    _, keep, values = sparse_gpt.sweep(upper, matrix, 0.5, pattern=pattern)
    left = keep.reshape(8, 4, 6).sum(axis=1)
    assert (left == 2).all() if isinstance(pattern, patterns.NM) else set(left.flat) == {0, 4}
    assert keep.mean() == 0.5 and not values[~keep].any()


def test_a_sweep_leaves_the_dead_dead(layer):
    hessian, matrix = layer
    alive = np.random.default_rng(6).random(matrix.shape) < 0.7
    _, keep, values = sparse_gpt.sweep(
        sparse_gpt.factor(hessian), np.where(alive, matrix, 0), 0.5, alive
    )
    assert not (keep & ~alive).any() and not values[~keep].any()
    assert abs(keep.size / 2 - keep.sum()) <= max(0, alive.size / 2 - alive.sum()) + 1


def test_least_squares_is_never_worse(layer):
    """Than the survivors as they were, or as SparseGPT moves them, under the same mask."""
    hessian, matrix = layer
    for sparsity in (0.3, 0.6, 0.9):
        _, keep, values = sparse_gpt.sweep(sparse_gpt.factor(hessian), matrix, sparsity)
        solved = objective(hessian, matrix, least_squares.solve(hessian, matrix, keep))
        assert solved <= objective(hessian, matrix, values) * (1 + 1e-9)
        assert solved <= objective(hessian, matrix, matrix * keep) * (1 + 1e-9)
        assert damping.squared_error(hessian, matrix, values) == pytest.approx(
            objective(hessian, matrix, values)
        )


def test_wanda_is_obd_of_the_layer():
    """Deleting one weight alone costs (|w| ||x||)^2 / n, and changes nothing else."""
    generator = np.random.default_rng(7)
    x, w = generator.standard_normal((50, 6)), generator.standard_normal(6)
    hessian = 2 * x.T @ x / 50
    for q in range(6):
        after = np.where(np.arange(6) == q, 0, w)
        cost = (after - w) @ hessian @ (after - w) / 2
        assert cost == pytest.approx((abs(w[q]) * np.linalg.norm(x[:, q])) ** 2 / 50)


@pytest.mark.parametrize("solve", ["costs", "solve", "factor"])
def test_a_singular_hessian_says_what_to_write(solve):
    hessian, matrix = np.ones((4, 4)), np.ones((4, 2))
    keep = np.array([[True], [True], [False], [False]]) & np.ones((4, 2), bool)
    calls = {
        "costs": lambda: exact_obs.compute_costs(hessian, matrix),
        "solve": lambda: least_squares.solve(hessian, matrix, keep),
        "factor": lambda: sparse_gpt.factor(hessian),
    }
    with pytest.raises(ValueError, match="singular.*damping=0.01"):
        calls[solve]()


def test_damping_makes_any_hessian_safe():
    x = np.zeros((3, 5))
    x[:, :3] = np.random.default_rng(8).standard_normal((3, 3))
    x[:, 1] = x[:, 0]  # dependent inputs, dead inputs, fewer samples than inputs
    hessian = damping.add_damping(2 * x.T @ x / 3, 1e-4)
    assert np.linalg.eigvalsh(hessian).min() > 0
    matrix = np.random.default_rng(9).standard_normal((5, 4))
    costs = exact_obs.compute_costs(hessian, matrix)
    assert np.isfinite(costs).all()
    assert np.isfinite(least_squares.solve(hessian, matrix, costs > np.median(costs))).all()
    assert damping.add_damping(np.zeros((3, 3)), 0.01).diagonal() == pytest.approx([1, 1, 1])


def test_the_best_damping_is_chosen():
    assert damping.choose(lambda d: abs(d - 0.01)) == 0.01
    assert damping.choose(lambda d: np.nan if d < 1 else 5.0) == 1.0
    assert damping.choose(lambda d: 1.0) == 1.0  # the safest of equals
    with pytest.raises(ValueError, match="No damping"):
        damping.choose(lambda d: np.inf)
