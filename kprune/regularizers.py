"""Regularizers for the survivors of a model that is trained already."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from kprune import wrappers


@contextlib.contextmanager
def regularized(model: keras.Model, regularizer: Any) -> Iterator[None]:
    """Adds a regularizer to the loss of every masked weight during a block.

    Use it in a training loop of one's own, around its tracing too; in `fit` write
    `kprune.callbacks.Regularization`. A pruned weight is zero and adds nothing, so only the
    survivors count. What a layer has of its own stays and is added to.

    Args:
        model: a wrapped model.
        regularizer: of Keras, by name or as an object, or a function from weight to loss.

    Raises:
        ValueError: the model is not wrapped, or there is no such regularizer.

    Example:
        >>> model = kprune.wrap(model)
        >>> with kprune.regularizers.regularized(model, keras.regularizers.L2(1e-4)):
        ...     penalty = sum(model.losses)
    """
    function = keras.regularizers.get(regularizer)
    variables = [weight.variable for weight in wrappers.find(model)]
    own = [each.regularizer for each in variables]
    try:
        for variable, before in zip(variables, own, strict=True):
            variable.regularizer = function if before is None else _sum(before, function)
        yield
    finally:
        for variable, before in zip(variables, own, strict=True):
            variable.regularizer = before


def _sum(first: Any, second: Any) -> Any:
    return lambda w: first(w) + second(w)
