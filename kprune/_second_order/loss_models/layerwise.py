"""Optimal Brain Surgeon layer by layer: each column of a layer by the layer's own squared error.

For a column w of the dense layer, with inputs X, and v of the pruned one, with inputs x,

`|V^T x - W^T X|^2 / n`  is  `(v - t)^T H (v - t) / 2` and a constant,  `t = H^-1 C w`,

`H = 2 x x^T / n` and `C = 2 x X^T / n`: what the layer aims at is t, which is w itself where its
inputs are what they were. Damping pulls to the weights as they are: `t = (H + a I)^-1 (C + a I) w`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy import linalg

from kprune._masking.weight import Weight
from kprune._second_order.layer_inputs import gram_matrices
from kprune._second_order.loss_models import loss_model
from kprune._second_order.solvers import damping as dampings
from kprune._second_order.solvers import exact_obs, least_squares, sparse_gpt
from kprune._support import progress
from kprune._support.typing import Array

Damping = float | Literal["auto"]
# From a damped Hessian, what some columns aim at, and their indices, to something of their shape.
Solve = Callable[[Array, Array, Array], Array]

TRIAL_COLUMNS = 16  # columns on which dampings are tried
TINY = float(np.finfo(float).tiny)


class LayerwiseLoss(loss_model.LossModel):
    """One quadratic for each column of each layer.

    Args:
        splits: the Gram matrices by the `id` of the weight's variable.
        sparsity: what the weights are going to be pruned to; dampings are tried at it.
        damping: relative to the mean of the diagonal; "auto" is what does best, among some, on
            held-out samples of each weight's inputs.
    """

    def __init__(
        self,
        splits: Mapping[int, gram_matrices.SplitGram],
        sparsity: float,
        damping: Damping = "auto",
    ) -> None:
        self.splits, self.sparsity, self.damping = splits, sparsity, damping
        self._chosen: dict[Weight, float] = {}

    def diagonal(self, weight: Weight) -> Array:
        """Returns the diagonal of H, in the shape of the weight."""
        return weight.view.kernel(self.splits[id(weight.variable)].whole.diagonal())

    def compute_costs(self, weight: Weight) -> Array:
        """Returns what each weight costs when those of its column go one after another.

        In units of what the layer's outputs are altogether, `tr(W^T H W) / 2`, so that the costs of
        different layers compare: a part of its outputs is a part, whatever their scale.
        """
        matrix, alive = _as_matrices(weight)
        split = self.splits[id(weight.variable)]
        if split.is_diagonal:
            costs = split.whole.diagonal() * matrix**2 / 2
            return weight.view.kernel(costs / max(float(costs.sum()), TINY))
        pattern = weight.pattern
        n_of_m = pattern.n_of_m

        dead = split.whole.diagonal() == 0  # what weighs an input that is always zero costs nothing

        def costs_of(hessian: Array, aim: Array, columns: Array) -> Array:
            living = np.where(dead[:, columns], 0, aim)
            return exact_obs.compute_costs(hessian, living, alive[:, columns], n_of_m)

        def prune(hessian: Array, aim: Array, columns: Array) -> Array:
            here, found = alive[:, columns], costs_of(hessian, aim, columns)
            fall = round(self.sparsity * here.size) - np.count_nonzero(~here)
            keep = here.copy()
            order = np.argsort(np.where(here, found, np.inf), axis=None)
            keep.reshape(-1)[order[: max(0, fall)]] = False
            return least_squares.solve(hessian, aim, keep)

        self._choose_damping(weight, prune)
        energy = 0.0

        def measured(hessian: Array, aim: Array, columns: Array) -> Array:
            nonlocal energy
            energy += float(np.einsum("rc,rc->", aim, hessian @ aim)) / 2
            return costs_of(hessian, aim, columns)

        return self._solve_groups(weight, measured) / max(energy, TINY)

    def minimize(self, weights: Sequence[Weight], keep: Sequence[Array]) -> dict[Weight, Array]:
        """Solves the masked least squares of each column."""
        return self._solve_survivors(weights, keep, least_squares.solve)

    def sweep_scores(self, weight: Weight) -> Array:
        """Returns SparseGPT's scores of a weight, sweep to the sparsity; one is the threshold."""
        split = self.splits[id(weight.variable)]
        if split.is_diagonal:
            return self.compute_costs(weight)
        alive, dead = _as_matrices(weight)[1], split.whole.diagonal() == 0

        def run(hessian: Array, aim: Array, columns: Array) -> tuple[Array, Array, Array]:
            living, upper = np.where(dead[:, columns], 0, aim), sparse_gpt.factor(hessian)
            return sparse_gpt.sweep(upper, living, self.sparsity, alive[:, columns], weight.pattern)

        self._choose_damping(weight, lambda *arguments: run(*arguments)[2])
        return self._solve_groups(weight, lambda *arguments: run(*arguments)[0])

    def sweep(self, weights: Sequence[Weight], keep: Sequence[Array]) -> dict[Weight, Array]:
        """Returns the values of the survivors as SparseGPT's sweep moves them."""

        def follow(hessian: Array, aim: Array, survivors: Array) -> Array:
            return sparse_gpt.sweep(sparse_gpt.factor(hessian), aim, survivors)[2]

        return self._solve_survivors(weights, keep, follow)

    def _solve_survivors(
        self, weights: Sequence[Weight], keep: Sequence[Array], solve: Solve
    ) -> dict[Weight, Array]:
        """What a solver of masked columns makes of each weight."""
        found = {}
        pairs = zip(weights, keep, strict=True)
        for weight, mask in progress.track(pairs, "moving the survivors", len(weights)):
            split = self.splits[id(weight.variable)]
            if split.is_diagonal or (mask.all() and split.fit.cross_total is None):
                continue
            survivors = weight.view.matrix(mask)

            def masked(
                hessian: Array, aim: Array, columns: Array, survivors: Array = survivors
            ) -> Array:
                return solve(hessian, aim, survivors[:, columns])

            self._choose_damping(weight, masked)
            found[weight] = self._solve_groups(weight, masked)
        return found

    def _choose_damping(self, weight: Weight, prune: Solve) -> None:
        """Notes the damping whose pruned columns err least on held-out samples."""
        if weight in self._chosen:
            return
        split = self.splits[id(weight.variable)]
        if self.damping != "auto" or not split.is_split:
            usual = dampings.DEFAULT if self.damping == "auto" else self.damping
            self._chosen[weight] = float(usual)
            return
        matrix, group = _as_matrices(weight)[0], split.fit.group
        number = min(TRIAL_COLUMNS, len(group))
        sample = np.unique(np.linspace(0, len(group) - 1, number).astype(np.int64))
        parts = []
        for which in np.unique(group[sample]):
            columns = sample[group[sample] == which]
            before = split.held_out.cross(which) @ matrix[:, columns]
            parts.append((which, columns, split.held_out.hessian(which), before))

        def trial(damping: float) -> float:
            total = 0.0
            for which, columns, held_out, before in parts:
                given = _build_problem(split.fit, which, matrix[:, columns], damping)
                values = prune(*given, columns)
                total += float(np.einsum("rc,rc->", values, held_out @ values / 2 - before))
            return total

        self._chosen[weight] = dampings.choose(trial)

    def _solve_groups(self, weight: Weight, solve: Solve) -> Array:
        """What a solver finds for the columns of each group, in the shape of the weight."""
        whole, matrix = self.splits[id(weight.variable)].whole, _as_matrices(weight)[0]
        result = np.empty(matrix.shape)
        for which in np.unique(whole.group):
            columns = np.flatnonzero(whole.group == which)
            given = _build_problem(whole, which, matrix[:, columns], self._chosen[weight])
            result[:, columns] = solve(*given, columns)
        return weight.view.kernel(result)


def validate_damping(damping: Damping) -> None:
    """Says what is wrong with a damping.

    Raises:
        ValueError: it is neither "auto" nor a number of at least 0.
    """
    number = isinstance(damping, (int, float)) and not isinstance(damping, bool)
    if damping != "auto" and not (number and 0 <= float(damping) < np.inf):
        raise ValueError(
            f'damping={damping!r}; expected "auto", or a part of the mean of the diagonal, at '
            "least 0. Write damping=0.01."
        )


def _build_problem(
    gram: gram_matrices.Gram, which: Any, matrix: Array, damping: float
) -> tuple[Array, Array]:
    """The damped Hessian of a group, and what its columns aim at."""
    plain = gram.hessian(which)
    hessian = dampings.add_damping(plain, damping)
    if gram.cross_total is None:
        return hessian, matrix
    target = (gram.cross(which) + hessian - plain) @ matrix
    return hessian, linalg.cho_solve((dampings.cholesky(hessian), True), target)


def _as_matrices(weight: Weight) -> tuple[Array, Array]:
    """A weight's values and mask as matrices [input, output]."""
    return weight.view.matrix(weight.values()), weight.view.matrix(weight.alive())
