"""Quadratic models of a model's own loss, built from the factors of its curvature."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kprune import calibration, curvature, weights
from kprune.quadratics import block as blocks
from kprune.quadratics import full as fulls
from kprune.quadratics import layerwise, quadratic
from kprune.reconstruction import damping as dampings

Array = np.ndarray[Any, Any]


def full(
    members: Sequence[weights.Weight],
    factors: curvature.Factors,
    data: calibration.Calibration,
    sparsity: float,
    damping: layerwise.Damping,
) -> fulls.Full:
    """Returns the quadratic over all weights together.

    Args:
        members: the weights that the factors are of.
        factors: of the curvature.
        data: labelled calibration data.
        sparsity: what the weights are going to be pruned to.
        damping: relative to the mean of the diagonal, or "auto".
    """
    alive = quadratic.flat(members, weights.Weight.alive)
    fit, held_out = curvature.inverse.Root(alive.size), curvature.inverse.Root(alive.size)
    samples = np.zeros(2)
    for batch, rows in factors.rows(data):
        held = batch.held_out
        rows = rows * alive
        fit.add(rows[~held].reshape(-1, alive.size))
        held_out.add(rows[held].reshape(-1, alive.size))
        samples += np.count_nonzero(~held), np.count_nonzero(held)
    if damping == "auto":
        root = fulls.Root(members, fit.matrix(max(1, samples[0])))
        made = lambda each: fulls.Full(root, each)  # noqa: E731
        damping = _chosen(made, members, factors, data, sparsity, samples)
    return fulls.Full(fulls.Root(members, fit.joined(held_out).matrix(samples.sum())), damping)


def block(
    members: Sequence[weights.Weight],
    factors: curvature.Factors,
    data: calibration.Calibration,
    sparsity: float,
    damping: layerwise.Damping,
    size: int,
) -> blocks.Block:
    """Returns a quadratic for each block of weights.

    Args:
        members: the weights that the factors are of.
        factors: of the curvature.
        data: labelled calibration data.
        sparsity: what the weights are going to be pruned to.
        damping: relative to the mean of the diagonal, or "auto".
        size: weights in a block.
    """
    found = {weight: blocks.Blocks(weight, size) for weight in members}
    ends = np.cumsum([weight.size for weight in members])[:-1]
    kept_aside: list[Array] = []
    samples = np.zeros(2)

    def add(rows: Array) -> None:
        pieces = np.split(rows.reshape(-1, rows.shape[-1]), ends, axis=1)
        for (weight, each), piece in zip(found.items(), pieces, strict=True):
            each.add(piece.reshape(-1, *weight.variable.shape))

    for batch, rows in factors.rows(data):
        held = batch.held_out & (damping == "auto")
        samples += np.count_nonzero(~held), np.count_nonzero(held)
        if (~held).any():
            add(rows[~held])
        if held.any():
            kept_aside.append(rows[held])
    if damping == "auto":
        made = lambda each: blocks.Block(found, samples[0], each)  # noqa: E731
        damping = _chosen(made, members, factors, data, sparsity, samples)
    for rows in kept_aside:
        add(rows)
    return blocks.Block(found, samples.sum(), damping)


def _chosen(
    made: Callable[[float], quadratic.Quadratic],
    members: Sequence[weights.Weight],
    factors: curvature.Factors,
    data: calibration.Calibration,
    sparsity: float,
    samples: Array,
) -> float:
    """The damping whose cut, on trial, leaves the lowest loss on held-out samples."""
    if not samples.all():  # nothing to hold out
        return dampings.USUAL
    held_out = dataclasses.replace(data, part="held_out")

    def trial(damping: float) -> float:
        model = made(damping)
        keep = quadratic.lowest(members, sparsity, model.costs)
        with weights.holding(model.minimum(members, keep)):
            return factors.loss.mean(held_out)

    return dampings.choose(trial)
