"""Differentiates a model's loss on JAX and torch, where no tape records it."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from kprune._keras import backend


def build_gradient(
    model: keras.Model, variables: Sequence[keras.Variable], loss: Callable[..., Any]
) -> Callable[..., list[Any]]:
    """Returns a function of a batch to the derivative of its loss by each variable.

    Args:
        model: the model that the loss calls.
        variables: by which it is differentiated, trainable or not.
        loss: a function of `(x, y, sample_weight)` to a scalar tensor.
    """
    build = {"jax": _build_for_jax, "torch": _build_for_torch}[backend.NAME]
    return build(model, variables, loss)


def _build_for_jax(
    model: keras.Model, variables: Sequence[keras.Variable], loss: Callable[..., Any]
) -> Callable[..., list[Any]]:
    import jax

    chosen = {id(variable) for variable in variables}
    others = [variable for variable in model.variables if id(variable) not in chosen]

    @jax.jit  # the other values are arguments too: what is not would be a constant of the trace
    def differentiate(values: list[Any], rest: list[Any], batch: Any) -> list[Any]:
        def evaluate(values: list[Any]) -> Any:
            pairs = [*zip(variables, values, strict=True), *zip(others, rest, strict=True)]
            with keras.StatelessScope(state_mapping=pairs):
                return loss(*batch)

        gradients: list[Any] = jax.grad(evaluate)(values)
        return gradients

    def gradient(*batch: Any) -> list[Any]:
        values = [variable.value for variable in variables]
        return differentiate(values, [variable.value for variable in others], batch)

    return gradient


def _build_for_torch(
    model: keras.Model, variables: Sequence[keras.Variable], loss: Callable[..., Any]
) -> Callable[..., list[Any]]:
    import torch

    def gradient(*batch: Any) -> list[Any]:
        tensors = [variable.value for variable in variables]
        recorded = [tensor.requires_grad for tensor in tensors]
        try:
            for tensor in tensors:
                tensor.requires_grad_(True)
            with torch.enable_grad():
                found = torch.autograd.grad(loss(*batch), tensors, allow_unused=True)
        finally:
            for tensor, before in zip(tensors, recorded, strict=True):
                tensor.requires_grad_(before)
        return [
            torch.zeros_like(tensor) if each is None else each
            for tensor, each in zip(tensors, found, strict=True)
        ]

    return gradient
