"""Computes the published layer-wise algorithms step by step in PyTorch, to compare with ours.

Matrices are [output, input], as in the papers, and float32. Damping is 1 % of the mean diagonal.
PyTorch is needed by this benchmark alone: `pip install torch`.
"""

from typing import Any

import torch

Tensor = Any
DAMPING = 0.01
SLAB = 128  # columns of SparseGPT that are worked on together


def gram(batches: list[Tensor]) -> Tensor:
    """Accumulates `H = 2 X X^T / n` over batches [samples, inputs]."""
    size = batches[0].shape[1]
    hessian, samples = torch.zeros((size, size)), 0
    for batch in batches:
        hessian *= samples / (samples + len(batch))
        samples += len(batch)
        scaled = (2 / samples) ** 0.5 * batch.t()
        hessian += scaled.matmul(scaled.t())
    return hessian


def damped(hessian: Tensor) -> Tensor:
    """Adds 1 % of the mean diagonal to the diagonal."""
    return hessian + DAMPING * hessian.diagonal().mean() * torch.eye(len(hessian))


def sparse_gpt(hessian: Tensor, weight: Tensor, sparsity: float) -> Tensor:
    """Frantar and Alistarh, SparseGPT, 2023, algorithm 1, unstructured."""
    upper = torch.linalg.cholesky(
        torch.cholesky_inverse(torch.linalg.cholesky(damped(hessian))), upper=True
    )
    weight = weight.clone()
    columns = weight.shape[1]
    for start in range(0, columns, SLAB):
        stop = min(start + SLAB, columns)
        slab, inner = weight[:, start:stop].clone(), upper[start:stop, start:stop]
        errors = torch.zeros_like(slab)
        saliency = slab**2 / inner.diagonal() ** 2
        threshold = saliency.flatten().sort()[0][int(saliency.numel() * sparsity)]
        gone = saliency <= threshold
        for i in range(stop - start):
            kept = slab[:, i].clone()
            kept[gone[:, i]] = 0
            errors[:, i] = (slab[:, i] - kept) / inner[i, i]
            slab[:, i:] -= errors[:, i : i + 1].matmul(inner[i : i + 1, i:])
            slab[:, i] = kept
        weight[:, start:stop] = slab
        weight[:, stop:] -= errors.matmul(upper[start:stop, stop:])
    return weight


def exact_obs(hessian: Tensor, weight: Tensor) -> Tensor:
    """Frantar and Alistarh, Optimal Brain Compression, 2022, algorithm 1: costs of all deletions.

    Every output at once, each with an inverse of its own, updated after every deletion.
    """
    outputs, columns = weight.shape
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped(hessian)))
    inverses = inverse.repeat(outputs, 1, 1)
    weight, gone = weight.clone(), torch.zeros_like(weight, dtype=torch.bool)
    costs, each = torch.zeros_like(weight), torch.arange(outputs)
    for _ in range(columns):
        diagonal = inverses.diagonal(dim1=1, dim2=2)
        saliency = weight**2 / diagonal
        saliency[gone] = float("inf")
        cost, p = saliency.min(dim=1)
        costs[each, p] = cost / 2
        row, pivot = inverses[each, p], inverses[each, p, p]
        weight -= row * (weight[each, p] / pivot)[:, None]
        gone[each, p] = True
        weight[gone] = 0
        scaled = row / pivot.sqrt()[:, None]
        inverses -= scaled[:, :, None] * scaled[:, None]
        inverses[each, p, p] = 1  # where rounding leaves nothing
    return costs


def least_squares(hessian: Tensor, weight: Tensor, keep: Tensor) -> Tensor:
    """Solves the survivors of each output: `H_SS v = (H w)_S`."""
    hessian, found = damped(hessian), torch.zeros_like(weight)
    target = weight.matmul(hessian)
    for i in range(len(weight)):
        here = keep[i].nonzero()[:, 0]
        factor = torch.linalg.cholesky(hessian[here][:, here])
        found[i, here] = torch.cholesky_solve(target[i, here, None], factor)[:, 0]
    return found
