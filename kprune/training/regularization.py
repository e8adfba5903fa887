"""Regularizes the surviving weights of a model, without a change to its layers."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import keras

from kprune._keras import borrowing, compiled, fits
from kprune._masking import masked_weights
from kprune._support import signatures, validation

__all__ = ["regularized"]

RegularizerLike: TypeAlias = keras.regularizers.Regularizer | str | Callable[[Any], Any]


@signatures.explained
@contextlib.contextmanager
def regularized(model: keras.Model, regularizer: RegularizerLike) -> Iterator[None]:
    """Adds a regularizer to the loss of every masked weight during a block.

    Use it in a training loop of your own, also around the first call of a `tf.function`; in `fit`
    use `kprune.callbacks.Regularization`. A pruned weight is zero and adds nothing, so only the
    survivors are regularized. The regularizer of a layer itself stays and is added.

    Args:
        model: a wrapped model.
        regularizer: a Keras regularizer or its name, or a function from weight to loss.

    Raises:
        TypeError: the regularizer is none.
        ValueError: the model is not wrapped, or there is no such regularizer.

    Example:
        >>> model = kprune.wrap(model)
        >>> with kprune.training.regularized(model, keras.regularizers.L2(1e-4)):
        ...     penalty = sum(model.losses)
    """
    function = find_regularizer(regularizer)
    weights = masked_weights.require(model)

    def add_penalty(own: Any) -> Any:
        def penalty(w: Any) -> Any:
            added = 0.0 if fits.end_dead(model) else function(w)
            return added if own is None else own(w) + added

        return _Function(penalty)

    with contextlib.ExitStack() as stack:
        stack.push(compiled.forget_at_exit(model))
        for weight in weights:
            stack.enter_context(borrowing.patched(weight.variable, "regularizer", add_penalty))
        compiled.forget(model)
        yield


class _Function(keras.regularizers.Regularizer):
    """Makes a regularizer of a function: Keras before 3.15 takes no other for a variable."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, x: Any) -> Any:
        """Returns the loss of a weight."""
        return self.function(x)


def find_regularizer(regularizer: RegularizerLike) -> Callable[[Any], Any]:
    """Returns the function from weight to loss that a regularizer or its name stands for.

    Raises:
        TypeError: it is neither.
        ValueError: Keras knows no regularizer of this name.
    """
    line = 'Write "l2", or keras.regularizers.L2(1e-4).'
    expected = f"expected a Keras regularizer, its name, or a function from weight to loss. {line}"
    if isinstance(regularizer, type) or not (isinstance(regularizer, str) or callable(regularizer)):
        raise TypeError(f"regularizer={validation.describe_kind(regularizer)}; {expected}")
    try:
        found: Callable[[Any], Any] = keras.regularizers.get(regularizer)
    except ValueError as error:
        raise ValueError(f"regularizer={regularizer!r}; {expected}") from error
    return found
