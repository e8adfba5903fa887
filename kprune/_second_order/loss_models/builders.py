"""LossModel models of a model's own loss, built from the factors of its curvature."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from kprune import calibration
from kprune._masking import masked_weights
from kprune._masking.weight import Weight
from kprune._second_order import hessian
from kprune._second_order.hessian import inverse
from kprune._second_order.loss_models import blockwise, full, layerwise, loss_model
from kprune._second_order.solvers import damping as dampings
from kprune._support.typing import Array


def build_full(
    weights: Sequence[Weight],
    factors: hessian.Factors,
    data: calibration.Calibration,
    sparsity: float,
    damping: layerwise.Damping,
) -> full.FullLoss:
    """Returns the quadratic over all weights together.

    Args:
        weights: the weights that the factors are of.
        factors: of the curvature.
        data: labelled calibration data.
        sparsity: what the weights are going to be pruned to.
        damping: relative to the mean of the diagonal, or "auto".
    """
    alive = loss_model.flatten(weights, Weight.alive)
    fit, held_out = inverse.CurvatureRoot(alive.size), inverse.CurvatureRoot(alive.size)
    samples = np.zeros(2)
    for batch, rows in factors.rows(data):
        held = batch.held_out
        rows = rows * alive
        fit.add(rows[~held].reshape(-1, alive.size))
        held_out.add(rows[held].reshape(-1, alive.size))
        samples += np.count_nonzero(~held), np.count_nonzero(held)
    if damping == "auto":
        root = full.OrthogonalRoot(weights, fit.matrix(max(1, samples[0])))
        made = lambda damping: full.FullLoss(root, damping)  # noqa: E731
        damping = _choose_damping(made, weights, factors, data, sparsity, samples)
    return full.FullLoss(
        full.OrthogonalRoot(weights, fit.merge(held_out).matrix(samples.sum())), damping
    )


def build_blockwise(
    weights: Sequence[Weight],
    factors: hessian.Factors,
    data: calibration.Calibration,
    sparsity: float,
    damping: layerwise.Damping,
    size: int,
) -> blockwise.BlockwiseLoss:
    """Returns a quadratic for each block of weights.

    Args:
        weights: the weights that the factors are of.
        factors: of the curvature.
        data: labelled calibration data.
        sparsity: what the weights are going to be pruned to.
        damping: relative to the mean of the diagonal, or "auto".
        size: weights in a block.
    """
    found = {weight: blockwise.WeightBlocks(weight, size) for weight in weights}
    ends = np.cumsum([weight.size for weight in weights])[:-1]
    kept_aside: list[Array] = []
    samples = np.zeros(2)

    def add(rows: Array) -> None:
        pieces = np.split(rows.reshape(-1, rows.shape[-1]), ends, axis=1)
        for (weight, weight_blocks), piece in zip(found.items(), pieces, strict=True):
            weight_blocks.add(piece.reshape(-1, *weight.variable.shape))

    for batch, rows in factors.rows(data):
        held = batch.held_out & (damping == "auto")
        samples += np.count_nonzero(~held), np.count_nonzero(held)
        if (~held).any():
            add(rows[~held])
        if held.any():
            kept_aside.append(rows[held])
    if damping == "auto":
        made = lambda damping: blockwise.BlockwiseLoss(found, samples[0], damping)  # noqa: E731
        damping = _choose_damping(made, weights, factors, data, sparsity, samples)
    for rows in kept_aside:
        add(rows)
    return blockwise.BlockwiseLoss(found, samples.sum(), damping)


def _choose_damping(
    made: Callable[[float], loss_model.LossModel],
    weights: Sequence[Weight],
    factors: hessian.Factors,
    data: calibration.Calibration,
    sparsity: float,
    samples: Array,
) -> float:
    """The damping whose cut, on trial, leaves the lowest loss on held-out samples."""
    if not samples.all():  # nothing to hold out
        return dampings.DEFAULT
    held_out = dataclasses.replace(data, part="held_out")

    def trial(damping: float) -> float:
        model = made(damping)
        keep = loss_model.select_lowest(weights, sparsity, model.compute_costs)
        with masked_weights.temporary_values(model.minimize(weights, keep)):
            return factors.loss.mean_loss(held_out)

    return dampings.choose(trial)
