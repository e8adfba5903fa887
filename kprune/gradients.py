"""Gradients on their way to the weights: seen, and changed, inside the compiled step.

Every way to train ends in the innermost optimizer's `apply`, with unscaled gradients: `fit` under
XLA, loss scaling, several steps per execution, gradient accumulation, and loops of one's own.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras


@contextlib.contextmanager
def passing(
    model: keras.Model, optimizer: Any, change: Callable[[list[Any], list[Any]], list[Any]]
) -> Iterator[None]:
    """Lets the gradients of each update pass through a function during a block.

    Args:
        model: for its optimizer, and for messages.
        optimizer: whose updates are meant; `None` for the model's own.
        change: gets gradients, each a tensor or `None`, with their variables, and returns the
            gradients that the optimizer is to apply.

    Raises:
        ValueError: there is no optimizer.
    """
    optimizer = optimizer or getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError(
            f"{model.name} has no optimizer; expected one whose updates count. "
            'Write model.compile("adam", ...) first, or name the optimizer.'
        )
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # gradients are unscaled there
    vars(inner).pop("apply", None)  # what a fit that failed may have left
    apply = inner.apply

    def applying(grads: Any, trainable_variables: Any = None) -> Any:
        given = inner._trainable_variables if trainable_variables is None else trainable_variables
        grads, variables = list(grads), list(given)  # each may be an iterator, and is read twice
        return apply(change(grads, variables), variables)

    object.__setattr__(inner, "apply", applying)
    try:
        yield
    finally:
        vars(inner).pop("apply", None)
