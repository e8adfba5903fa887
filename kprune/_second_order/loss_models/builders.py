"""Builds quadratic models of a model's own loss from the factors of its curvature."""

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
    """Returns a quadratic over all weights together.

    Args:
        weights: the weights.
        factors: the factors of the curvature by these weights.
        data: labelled calibration data.
        sparsity: the sparsity to which the weights will be pruned.
        damping: relative to the mean of the diagonal, or "auto".
    """
    alive = loss_model.flatten(weights, Weight.alive)
    fit, held_out = inverse.CurvatureRoot(alive.size), inverse.CurvatureRoot(alive.size)
    samples = np.zeros(2)
    for batch, rows in factors.rows(data):
        is_held_out = batch.held_out
        rows = rows * alive
        fit.add(rows[~is_held_out].reshape(-1, alive.size))
        held_out.add(rows[is_held_out].reshape(-1, alive.size))
        samples += np.count_nonzero(~is_held_out), np.count_nonzero(is_held_out)
    if damping == "auto":
        root = full.OrthogonalRoot(weights, fit.matrix(max(1, samples[0])))

        def build(candidate: float) -> loss_model.LossModel:
            return full.FullLoss(root, candidate)

        damping = _choose_damping(build, weights, factors, data, sparsity, samples)
    matrix = fit.merge(held_out).matrix(samples.sum())
    return full.FullLoss(full.OrthogonalRoot(weights, matrix), damping)


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
        weights: the weights.
        factors: the factors of the curvature by these weights.
        data: labelled calibration data.
        sparsity: the sparsity to which the weights will be pruned.
        damping: relative to the mean of the diagonal, or "auto".
        size: how many weights a block has.
    """
    blocks = {weight: blockwise.WeightBlocks(weight, size) for weight in weights}
    ends = np.cumsum([weight.size for weight in weights])[:-1]
    held_out: list[Array] = []
    samples = np.zeros(2)

    def add(rows: Array) -> None:
        pieces = np.split(rows.reshape(-1, rows.shape[-1]), ends, axis=1)
        for (weight, weight_blocks), piece in zip(blocks.items(), pieces, strict=True):
            weight_blocks.add(piece.reshape(-1, *weight.variable.shape))

    for batch, rows in factors.rows(data):
        is_held_out = batch.held_out & (damping == "auto")
        samples += np.count_nonzero(~is_held_out), np.count_nonzero(is_held_out)
        if (~is_held_out).any():
            add(rows[~is_held_out])
        if is_held_out.any():
            held_out.append(rows[is_held_out])
    if damping == "auto":

        def build(candidate: float) -> loss_model.LossModel:
            return blockwise.BlockwiseLoss(blocks, samples[0], candidate)

        damping = _choose_damping(build, weights, factors, data, sparsity, samples)
    for rows in held_out:
        add(rows)
    return blockwise.BlockwiseLoss(blocks, samples.sum(), damping)


def _choose_damping(
    build: Callable[[float], loss_model.LossModel],
    weights: Sequence[Weight],
    factors: hessian.Factors,
    data: calibration.Calibration,
    sparsity: float,
    samples: Array,
) -> float:
    """Returns the damping whose trial mask update has the lowest loss on held-out samples."""
    if not samples.all():  # there are no samples to hold out
        return dampings.DEFAULT
    held_out = dataclasses.replace(data, part="held_out")

    def measure(damping: float) -> float:
        model = build(damping)
        keep = loss_model.select_lowest(weights, sparsity, model.compute_costs)
        with masked_weights.temporary_values(model.minimize(weights, keep)):
            return factors.loss.mean_loss(held_out)

    return dampings.choose(measure)
