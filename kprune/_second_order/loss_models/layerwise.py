"""Models the squared error of each layer's outputs by one quadratic for each column.

For a column w of the dense layer, with inputs X, and v of the pruned one, with inputs x,

`|V^T x - W^T X|^2 / n`  is  `(v - t)^T H (v - t) / 2` plus a constant,  `t = H^-1 C w`,

`H = 2 x x^T / n` and `C = 2 x X^T / n`: the target of the column is t, which is w itself if its
inputs did not change. Damping pulls to the present weights: `t = (H + a I)^-1 (C + a I) w`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import linalg

from kprune._masking.weight import Weight
from kprune._second_order.layer_inputs import gram_matrices
from kprune._second_order.loss_models import loss_model
from kprune._second_order.solvers import block_obs, exact_obs, least_squares, sparse_gpt
from kprune._second_order.solvers import damping as dampings
from kprune._support import progress
from kprune._support.typing import Array

Damping: TypeAlias = float | Literal["auto"]
# From a damped Hessian, the targets of some columns, and the indices of these columns, to an array
# in the shape of the targets.
Solve: TypeAlias = Callable[[Array, Array, Array], Array]

TRIAL_COLUMNS = 16  # how many columns each damping is tried on
SMALLEST_ENERGY = float(np.finfo(float).tiny)


class LayerwiseLoss(loss_model.LossModel):
    """Models the squared error of layers by one quadratic for each of their columns.

    Args:
        splits: the Gram matrices by the `id` of the weight's variable.
        sparsity: the sparsity to which the weights will be pruned; dampings are tried at it.
        damping: relative to the mean of the diagonal; "auto" tries some on held-out samples of each
            weight's inputs, and takes the best.
    """

    def __init__(
        self,
        splits: Mapping[int, gram_matrices.SplitGram],
        sparsity: float,
        damping: Damping = "auto",
    ) -> None:
        self.splits, self.sparsity, self.damping = splits, sparsity, damping
        self._dampings: dict[Weight, float] = {}

    def diagonal(self, weight: Weight) -> Array:
        """Returns the diagonal of H, in the shape of the weight."""
        return weight.view.kernel(self.splits[id(weight.variable)].whole.diagonal())

    def compute_costs(self, weight: Weight) -> Array:
        """Returns what each weight costs when those of its column are pruned one after another.

        Where whole blocks are pruned, a weight costs its part of its block.

        The costs are divided by the sum of squares of the layer's outputs, `tr(W^T H W) / 2`, so
        that those of layers of different scale are comparable.
        """
        matrix, alive = _as_matrices(weight)
        split = self.splits[id(weight.variable)]
        if split.is_diagonal:
            costs = split.whole.diagonal() * matrix**2 / 2
            return weight.view.kernel(costs / max(float(costs.sum()), SMALLEST_ENERGY))
        pattern = weight.pattern
        blocks = pattern.block_shape(weight.view)
        is_zero = split.whole.diagonal() == 0  # weights of inputs that are always zero cost nothing

        def eliminate(hessian: Array, target: Array, columns: Array) -> Array:
            values, left = np.where(is_zero[:, columns], 0, target), alive[:, columns]
            if blocks is not None:
                return block_obs.compute_costs(hessian, values, blocks, left, columns)
            return exact_obs.compute_costs(hessian, values, left, pattern.n_of_m)

        def prune(hessian: Array, target: Array, columns: Array) -> Array:
            keep = alive[:, columns].copy()
            costs = eliminate(hessian, target, columns)
            count = round(self.sparsity * keep.size) - np.count_nonzero(~keep)
            order = np.argsort(np.where(keep, costs, np.inf), axis=None)
            keep.reshape(-1)[order[: max(0, count)]] = False
            return least_squares.solve(hessian, target, keep)

        self._choose_damping(weight, prune)
        energy = 0.0

        def eliminate_and_measure(hessian: Array, target: Array, columns: Array) -> Array:
            nonlocal energy
            energy += float(np.einsum("rc,rc->", target, hessian @ target)) / 2
            return eliminate(hessian, target, columns)

        return self._solve_groups(weight, eliminate_and_measure) / max(energy, SMALLEST_ENERGY)

    def minimize(self, weights: Sequence[Weight], keep: Sequence[Array]) -> dict[Weight, Array]:
        """Solves the masked least squares of each column."""
        return self._solve_survivors(weights, keep, least_squares.solve)

    def sweep_scores(self, weight: Weight) -> Array:
        """Returns SparseGPT's scores, divided by the threshold of their block."""
        split = self.splits[id(weight.variable)]
        if split.is_diagonal:
            return self.compute_costs(weight)
        alive, is_zero = _as_matrices(weight)[1], split.whole.diagonal() == 0

        def sweep(hessian: Array, target: Array, columns: Array) -> tuple[Array, Array, Array]:
            upper, values = sparse_gpt.factor(hessian), np.where(is_zero[:, columns], 0, target)
            return sparse_gpt.sweep(upper, values, self.sparsity, alive[:, columns], weight.pattern)

        self._choose_damping(weight, lambda *arguments: sweep(*arguments)[2])
        return self._solve_groups(weight, lambda *arguments: sweep(*arguments)[0])

    def sweep(self, weights: Sequence[Weight], keep: Sequence[Array]) -> dict[Weight, Array]:
        """Returns the values of the survivors after SparseGPT's sweep."""

        def sweep_masked(hessian: Array, target: Array, survivors: Array) -> Array:
            return sparse_gpt.sweep(sparse_gpt.factor(hessian), target, survivors)[2]

        return self._solve_survivors(weights, keep, sweep_masked)

    def _solve_survivors(
        self, weights: Sequence[Weight], keep: Sequence[Array], solve: Solve
    ) -> dict[Weight, Array]:
        """Returns the values of the survivors of each weight by a solver of masked columns."""
        values = {}
        pairs = zip(weights, keep, strict=True)
        for weight, mask in progress.track(pairs, "moving the survivors", len(weights)):
            split = self.splits[id(weight.variable)]
            if split.is_diagonal or (mask.all() and split.fit.cross_total is None):
                continue
            survivors = weight.view.matrix(mask)

            def solve_masked(
                hessian: Array, target: Array, columns: Array, survivors: Array = survivors
            ) -> Array:
                return solve(hessian, target, survivors[:, columns])

            self._choose_damping(weight, solve_masked)
            values[weight] = self._solve_groups(weight, solve_masked)
        return values

    def _choose_damping(self, weight: Weight, prune: Solve) -> None:
        """Chooses the damping whose pruned columns have the least error on held-out samples."""
        if weight in self._dampings:
            return
        split = self.splits[id(weight.variable)]
        if self.damping != "auto" or not split.is_split:
            given = dampings.DEFAULT if self.damping == "auto" else self.damping
            self._dampings[weight] = float(given)
            return
        matrix, group_of = _as_matrices(weight)[0], split.fit.group
        number = min(TRIAL_COLUMNS, len(group_of))
        sample = np.unique(np.linspace(0, len(group_of) - 1, number).astype(np.int64))
        problems = []
        for group in np.unique(group_of[sample]):
            columns = sample[group_of[sample] == group]
            before = split.held_out.cross(group) @ matrix[:, columns]
            problems.append((group, columns, split.held_out.hessian(group), before))

        def measure(damping: float) -> float:
            total = 0.0
            for group, columns, held_out, before in problems:
                hessian, target = _build_problem(split.fit, group, matrix[:, columns], damping)
                values = prune(hessian, target, columns)
                total += float(np.einsum("rc,rc->", values, held_out @ values / 2 - before))
            return total

        self._dampings[weight] = dampings.choose(measure)

    def _solve_groups(self, weight: Weight, solve: Solve) -> Array:
        """Solves the columns of each group; returns the results in the shape of the weight."""
        gram, matrix = self.splits[id(weight.variable)].whole, _as_matrices(weight)[0]
        result = np.empty(matrix.shape)
        for group in np.unique(gram.group):
            columns = np.flatnonzero(gram.group == group)
            hessian, target = _build_problem(
                gram, group, matrix[:, columns], self._dampings[weight]
            )
            result[:, columns] = solve(hessian, target, columns)
        return weight.view.kernel(result)


def validate_damping(damping: Damping) -> None:
    """Raises if a damping is invalid.

    Raises:
        ValueError: it is neither "auto" nor a number of at least 0.
    """
    number = isinstance(damping, (int, float)) and not isinstance(damping, bool)
    if damping != "auto" and not (number and 0 <= float(damping) < np.inf):
        raise ValueError(
            f'damping={damping!r}; expected "auto", or a factor of the mean of the diagonal, at '
            "least 0. Write damping=0.01."
        )


def _build_problem(
    gram: gram_matrices.Gram, group: Any, matrix: Array, damping: float
) -> tuple[Array, Array]:
    """Returns the damped Hessian of a group, and the targets of its columns."""
    undamped = gram.hessian(group)
    hessian = dampings.add_damping(undamped, damping)
    if gram.cross_total is None:
        return hessian, matrix
    target = (gram.cross(group) + hessian - undamped) @ matrix
    return hessian, linalg.cho_solve((dampings.cholesky(hessian), True), target)


def _as_matrices(weight: Weight) -> tuple[Array, Array]:
    """Returns the values and the mask of a weight as matrices [input, output]."""
    return weight.view.matrix(weight.values()), weight.view.matrix(weight.alive())
