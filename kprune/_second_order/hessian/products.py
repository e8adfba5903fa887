"""Multiplies the Hessian of a loss by vectors, at the cost of about two gradients."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args

from kprune._keras.tensorflow import tf
from kprune._second_order.hessian import objective
from kprune._support import validation

Mode: TypeAlias = Literal["reverse_over_reverse", "forward_over_reverse"]
MODES = get_args(Mode)


def build_hessian_vector_product(
    loss: objective.Objective, mode: Mode = "reverse_over_reverse"
) -> Callable[..., list[Any]]:
    """Returns a function that multiplies the Hessian of a batch's loss by a vector.

    `H v = d/de grad L(w + e v) at e = 0`

    Args:
        loss: the compiled loss as a function of weights.
        mode: "reverse_over_reverse" differentiates the gradient's product with `v` once more and
            works with every layer; "forward_over_reverse" differentiates the gradient in forward
            mode and takes less memory, but TensorFlow cannot do so in a recurrent layer's loop.

    Returns:
        A function of `(x, y, sample_weight, vector)`; the vector and the result are lists of
        tensors in the shapes of the weights. Compile it with `tf.function`.

    Raises:
        ValueError: the mode is unknown.

    Example:
        >>> from kprune._second_order.hessian import Objective
        >>> kernel = model.layers[0].kernel
        >>> product = build_hessian_vector_product(Objective(model, [kernel], "example"))
        >>> product(x, y, None, [np.ones(kernel.shape, "float32")])[0].shape
        TensorShape([12, 16])

    Reference:
        Pearlmutter, Fast Exact Multiplication by the Hessian, 1994.
    """
    validation.require_choice(mode, "mode", MODES)
    if mode == "reverse_over_reverse":
        return lambda *arguments: _differentiate_in_reverse(loss, *arguments)
    return lambda *arguments: _differentiate_forward(loss, *arguments)


def _differentiate_in_reverse(
    loss: objective.Objective, x: Any, y: Any, sample_weight: Any, v: Sequence[Any]
) -> list[Any]:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(loss.variables)
        gradient = loss.gradient(x, y, sample_weight)
    return objective.differentiate(tape, gradient, loss.variables, output_gradients=list(v))


def _differentiate_forward(
    loss: objective.Objective, x: Any, y: Any, sample_weight: Any, v: Sequence[Any]
) -> list[Any]:
    tangents = [tf.convert_to_tensor(tangent) for tangent in v]
    with tf.autodiff.ForwardAccumulator(loss.variables, tangents) as forward:
        gradient = loss.gradient(x, y, sample_weight)
    return [forward.jvp(tensor, unconnected_gradients="zero") for tensor in gradient]
