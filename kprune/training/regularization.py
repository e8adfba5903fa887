"""Regularizers for the survivors of a model that is trained already."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from kprune._keras import borrowing, compiled
from kprune._masking import masked_weights


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
        >>> with kprune.training.regularized(model, keras.regularizers.L2(1e-4)):
        ...     penalty = sum(model.losses)
    """
    function = keras.regularizers.get(regularizer)
    weights = masked_weights.require(model)
    with contextlib.ExitStack() as stack:
        stack.callback(compiled.forget, model)
        for weight in weights:
            stack.enter_context(
                borrowing.patched(
                    weight.variable, "regularizer", lambda own: _add_regularizers(own, function)
                )
            )
        compiled.forget(model)
        yield


def _add_regularizers(first: Any, second: Any) -> Any:
    return second if first is None else lambda w: first(w) + second(w)
