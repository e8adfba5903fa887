"""Optimal Brain Surgeon layer by layer: each column of a layer by the layer's own squared error."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from kprune import patterns, weights
from kprune.curvature import grams
from kprune.quadratics import quadratic
from kprune.reconstruction import damping as dampings
from kprune.reconstruction import elimination, least_squares, sweep

Array = np.ndarray[Any, Any]
Damping = float | Literal["auto"]
Prune = Callable[[Array, Array], Array]  # a damped Hessian and some columns to their new values

SAMPLE = 16  # columns on which dampings are tried


class Layerwise(quadratic.Quadratic):
    """One quadratic for each column of each layer, `H = 2 X^T X / n` of the layer's inputs.

    Args:
        splits: the Gram matrices by the `id` of the weight's variable.
        sparsity: what the weights are going to be pruned to; dampings are tried at it.
        damping: relative to the mean of the diagonal; "auto" is what does best, among some, on
            held-out samples of each weight's inputs.
    """

    def __init__(
        self, splits: Mapping[int, grams.Split], sparsity: float, damping: Damping = "auto"
    ) -> None:
        self.splits, self.sparsity, self.damping = splits, sparsity, damping
        self._chosen: dict[weights.Weight, float] = {}

    def diagonal(self, weight: weights.Weight) -> Array:
        """Returns the diagonal of H, in the shape of the weight."""
        return weight.view.kernel(self.splits[id(weight.variable)].whole.diagonal())

    def costs(self, weight: weights.Weight) -> Array:
        """Returns what each weight costs when those of its column go one after another."""
        if self.splits[id(weight.variable)].is_diagonal:
            return self.diagonal(weight) * weight.values().astype(np.float64) ** 2 / 2
        matrix, alive = self._living(weight)
        pattern = weight.pattern
        n_of_m = (pattern.n, pattern.m) if isinstance(pattern, patterns.NM) else None

        def costs(hessian: Array, columns: Array) -> Array:
            return elimination.costs(hessian, matrix[:, columns], alive[:, columns], n_of_m)

        def prune(hessian: Array, columns: Array) -> Array:
            here, found = alive[:, columns], costs(hessian, columns)
            fall = round(self.sparsity * here.size) - np.count_nonzero(~here)
            keep = here.copy()
            order = np.argsort(np.where(here, found, np.inf), axis=None)
            keep.reshape(-1)[order[: max(0, fall)]] = False
            return least_squares.solve(hessian, matrix[:, columns], keep)

        self._choose(weight, prune)
        return self._solved(weight, costs)

    def minimum(
        self, members: Sequence[weights.Weight], keep: Sequence[Array]
    ) -> dict[weights.Weight, Array]:
        """Solves the masked least squares of each column."""
        found = {}
        for weight, mask in zip(members, keep, strict=True):
            if self.splits[id(weight.variable)].is_diagonal or mask.all():
                continue
            matrix, survivors = _matrices(weight)[0], weight.view.matrix(mask)

            def solve(hessian: Array, columns: Array) -> Array:
                return least_squares.solve(hessian, matrix[:, columns], survivors[:, columns])  # noqa: B023

            self._choose(weight, solve)
            found[weight] = self._solved(weight, solve)
        return found

    def sweep_scores(self, weight: weights.Weight) -> Array:
        """Returns SparseGPT's scores of a weight, swept to the sparsity; one is the threshold."""
        if self.splits[id(weight.variable)].is_diagonal:
            return self.costs(weight)
        matrix, alive = self._living(weight)

        def run(hessian: Array, columns: Array) -> tuple[Array, Array, Array]:
            here, upper = alive[:, columns], sweep.factor(hessian)
            return sweep.run(upper, matrix[:, columns], self.sparsity, here, weight.pattern)

        self._choose(weight, lambda hessian, columns: run(hessian, columns)[2])
        return self._solved(weight, lambda hessian, columns: run(hessian, columns)[0])

    def swept(
        self, members: Sequence[weights.Weight], keep: Sequence[Array]
    ) -> dict[weights.Weight, Array]:
        """Returns the values of the survivors as SparseGPT's sweep moves them."""
        found = {}
        for weight, mask in zip(members, keep, strict=True):
            if self.splits[id(weight.variable)].is_diagonal or mask.all():
                continue
            matrix, survivors = _matrices(weight)[0], weight.view.matrix(mask)

            def solve(hessian: Array, columns: Array) -> Array:
                upper = sweep.factor(hessian)
                return sweep.run(upper, matrix[:, columns], survivors[:, columns])[2]  # noqa: B023

            self._choose(weight, solve)
            found[weight] = self._solved(weight, solve)
        return found

    def _living(self, weight: weights.Weight) -> tuple[Array, Array]:
        """Values and mask as matrices, what weighs an input that is always zero put to zero."""
        matrix, alive = _matrices(weight)
        dead = self.splits[id(weight.variable)].whole.diagonal() == 0
        return np.where(dead, 0, matrix), alive

    def _choose(self, weight: weights.Weight, prune: Prune) -> None:
        """Notes the damping whose pruned columns err least on held-out samples."""
        if weight in self._chosen:
            return
        split = self.splits[id(weight.variable)]
        if self.damping != "auto" or not split.is_split:
            usual = dampings.USUAL if self.damping == "auto" else self.damping
            self._chosen[weight] = float(usual)
            return
        matrix, group = _matrices(weight)[0], split.fit.group
        number = min(SAMPLE, len(group))
        sample = np.unique(np.linspace(0, len(group) - 1, number).astype(np.int64))

        def trial(damping: float) -> float:
            total = 0.0
            for which in np.unique(group[sample]):
                columns = sample[group[sample] == which]
                values = prune(dampings.damped(split.fit.hessian(which), damping), columns)
                held_out = split.held_out.hessian(which)
                total += dampings.error(held_out, matrix[:, columns], values)
            return total

        self._chosen[weight] = dampings.choose(trial)

    def _solved(self, weight: weights.Weight, solve: Prune) -> Array:
        """What a solver finds for the columns of each group, in the shape of the weight."""
        whole = self.splits[id(weight.variable)].whole
        result = np.empty((whole.rows, len(whole.group)))
        for which in np.unique(whole.group):
            columns = np.flatnonzero(whole.group == which)
            hessian = dampings.damped(whole.hessian(which), self._chosen[weight])
            result[:, columns] = solve(hessian, columns)
        return weight.view.kernel(result)


def check_damping(damping: Damping) -> None:
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


def _matrices(weight: weights.Weight) -> tuple[Array, Array]:
    """A weight's values and mask as matrices [input, output]."""
    return weight.view.matrix(weight.values()), weight.view.matrix(weight.alive())
