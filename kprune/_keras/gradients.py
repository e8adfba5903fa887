"""Changes gradients between the tape and the optimizer, inside the compiled step.

Every way to train ends in the innermost optimizer's `apply`, with unscaled gradients: `fit` under
XLA, loss scaling, several steps per execution, gradient accumulation, and a user's own loop.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from kprune._keras import backend, borrowing, compiled, fits, optimizers
from kprune._keras.tensorflow import tf


@contextlib.contextmanager
def transform(
    model: keras.Model, optimizer: Any, change: Callable[[list[Any], list[Any]], list[Any]]
) -> Iterator[None]:
    """Applies a function to the gradients of each update during a block.

    Args:
        model: for its optimizer, and for messages. Its steps are traced again.
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
    inner = optimizers.innermost(optimizer)

    def replace(apply: Callable[..., Any]) -> Callable[..., Any]:
        def apply_changed(grads: Any, trainable_variables: Any = None) -> Any:
            if fits.end_dead(model):
                return inner.apply(grads, trainable_variables)
            given = trainable_variables
            if given is None:
                given = optimizers.trainable_variables(inner)
            gradients, variables = list(grads), list(given)  # each may be an iterator
            return apply(change(gradients, variables), variables)

        return apply_changed

    with contextlib.ExitStack() as stack:
        stack.push(compiled.forget_at_exit(model))
        stack.enter_context(borrowing.patched(inner, "apply", replace))
        compiled.forget(model)
        yield


def sum_over_replicas(gradient: Any) -> Any:
    """Returns the gradient of the whole batch, inside a step that `tf.distribute` has split.

    Each replica has the gradient of its part; what the optimizer applies is their sum. Elsewhere a
    gradient is returned as it is, and dense.
    """
    if backend.NAME != "tensorflow":
        return gradient
    gradient = tf.convert_to_tensor(gradient)
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return gradient
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, gradient)
