"""LeCun's backward diagonal: second derivatives by one pass from the loss to the inputs.

For a chain of layers `a = W x`, `x' = f(a)`, with the cross terms between units ignored:

    d2E/dw_ij^2 = d2E/da_i^2 * x_j^2
    d2E/dx_j^2  = sum_i w_ij^2 * d2E/da_i^2
    d2E/da_i^2  = f'(a_i)^2 * d2E/dx'_i^2 + f''(a_i) * dE/dx'_i

Both sums are those of a gradient through the same linear operation with squared inputs or squared
weights, so every kind of convolution is covered by its own gradient.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kprune import calibration
from kprune._keras import private
from kprune._second_order.hessian import diagonals, factors, objective
from kprune._support import registration
from kprune._support.typing import Array

layers = keras.layers

LINEAR = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
ELEMENTWISE = (
    *(layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.PReLU),
    *(layers.BatchNormalization, layers.Rescaling, layers.Identity),
    *(layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D),
)
# Each output is one of the inputs, or zero.
ROUTING = (
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
    *(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D),
    *(layers.Flatten, layers.Reshape, layers.Permute),
)
# Each output is the mean of a window of inputs.
WINDOWED = (layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)
WHOLE = (
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D),
    layers.GlobalAveragePooling3D,
)
KNOWN = {*LINEAR, *ELEMENTWISE, *ROUTING, *WINDOWED, *WHOLE, layers.Softmax}


@registration.register
@dataclasses.dataclass(frozen=True)
class Backward(diagonals.DiagonalEstimator):
    """The diagonal of the paper: one backward pass of second derivatives through a chain.

    Use it to follow the paper on networks of Dense and Conv layers one after another: it costs
    about as much as a gradient. It is exact for one hidden layer, and ignores the cross terms
    between hidden units further down. A weight of a convolution sums over its connections.

    Args:
        levenberg_marquardt: drop the second derivative of the activation, so that no entry is
            negative.

    Raises:
        ValueError: when it is used, the model is no chain of layers that it knows.

    Example:
        >>> kprune.prune(model, 0.5, kprune.criteria.OBD((x, y), estimator="backward"))

    Reference:
        LeCun, Denker and Solla, Optimal Brain Damage, 1990.
    """

    levenberg_marquardt: bool = True

    def diagonal(self, loss: objective.Objective, data: calibration.Calibration) -> list[Array]:
        """Runs the pass over each batch."""
        chain = _find_chain(loss.model)

        def of_batch(x: Any, y: Any, sample_weight: Any) -> list[Any]:
            return self._backward(loss, chain, x, y, sample_weight)

        return loss.average(data, loss.compile_once(self, of_batch), "backward diagonal")

    def _backward(
        self, loss: objective.Objective, chain: list[Any], x: Any, y: Any, sample_weight: Any
    ) -> list[Any]:
        given, sums, gave = [], {}, []  # what a layer gets; W x + b where it is linear; its outputs
        outputs = tf.convert_to_tensor(x)
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
            tape.watch((outputs, loss.variables))
            for i, layer in enumerate(chain):
                given.append(outputs)
                if isinstance(layer, LINEAR):
                    sums[i] = _apply_linear(layer, outputs, layer.kernel, layer.bias)
                    outputs = layer.activation(sums[i])
                else:
                    outputs = layer(outputs, training=False)
                gave.append(outputs)
            head, second = _find_output_diagonal(loss, x, y, outputs, sample_weight)
            value = loss.compute_loss(x, y, outputs, sample_weight)

        def before(function: Callable[[Any], Any], i: int, at: Any, second: Any) -> Any:
            if i == len(chain) - 1 and head is not outputs:
                return second  # the loss starts from the logits, before this function
            first = None if self.levenberg_marquardt else tape.gradient(value, gave[i])
            return _pass_elementwise(chain[i], function, at, second, first)

        found: dict[int, Any] = {}
        for i, layer in reversed(list(enumerate(chain))):
            if isinstance(layer, LINEAR):
                second = before(layer.activation, i, sums[i], second)
                found |= _weight_diagonal(layer, given[i], second)
                second = _pull_back(
                    lambda v: _apply_linear(layer, v, layer.kernel**2), given[i], second
                )  # noqa: B023
            elif isinstance(layer, (*ELEMENTWISE, layers.Softmax)):
                second = before(lambda v: layer(v, training=False), i, given[i], second)  # noqa: B023
            else:  # coefficients c are 0 and 1, or 0 and 1/n: their squares are c / n
                second = second / _window_size(layer, given[i])
                second = _pull_back(layer, given[i], second)
        missing = [variable.name for variable in loss.variables if id(variable) not in found]
        if missing:
            raise ValueError(
                f"{', '.join(missing)} of {loss.model.name} are no kernels or biases of Dense or "
                'Conv layers, which the backward diagonal is for. Write estimator="gauss_newton".'
            )
        return [found[id(variable)] for variable in loss.variables]


def _find_chain(model: keras.Model) -> list[Any]:
    """The layers of a model, each fed by the one before it."""
    graph = getattr(model, "_functional", model)  # a Sequential keeps its graph there
    nodes = getattr(graph, "_nodes_by_depth", None)
    if nodes is None or any(len(level) > 1 for level in nodes.values()):
        raise ValueError(
            f"{model.name} is no chain of layers, each fed by the one before it, which the "
            'backward diagonal needs. Write estimator="gauss_newton".'
        )
    found = [nodes[depth][0].operation for depth in sorted(nodes, reverse=True)]
    chain = [layer for layer in found if not isinstance(layer, layers.InputLayer)]
    for place, layer in enumerate(chain):
        if type(layer) not in KNOWN or layer in chain[:place]:
            raise ValueError(
                f"{layer.name} is a {type(layer).__name__}; the backward diagonal knows chains of "
                "Dense and Conv layers, each used once, with activations, pooling and batch "
                'normalisation between them. Write estimator="gauss_newton".'
            )
    return chain


def _apply_linear(layer: Any, x: Any, kernel: Any, bias: Any = None) -> Any:
    kernel = tf.convert_to_tensor(kernel)
    dense = isinstance(layer, layers.Dense)
    sums = tf.tensordot(x, kernel, 1) if dense else layer.convolution_op(x, kernel)
    return sums if bias is None else sums + tf.convert_to_tensor(bias)


def _weight_diagonal(layer: Any, given: Any, second: Any) -> dict[int, Any]:
    """Second derivatives by the kernel and the bias of a linear layer."""
    found = _pull_back(lambda kernel: _apply_linear(layer, given**2, kernel), layer.kernel, second)
    of_weights = {id(private.kernel(layer).value): found}
    if layer.bias is not None:
        axes = tuple(range(second.shape.rank - 1))
        of_weights[id(layer.bias.value)] = tf.reduce_sum(second, axes)
    return of_weights


def _find_output_diagonal(
    loss: objective.Objective, x: Any, y: Any, outputs: Any, sample_weight: Any
) -> tuple[Any, Any]:
    """What the loss starts from, outputs or logits, and its second derivatives there."""
    heads = factors.find_loss_inputs(outputs)
    with tf.GradientTape(watch_accessed_variables=False, persistent=True) as outer:
        outer.watch(heads)
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(heads)
            value = loss.compute_loss(x, y, outputs, sample_weight)
        slopes = inner.gradient(value, heads)
    head, slope = next((h, s) for h, s in zip(heads, slopes, strict=True) if s is not None)
    size = math.prod(head.shape[1:])

    def of_unit(unit: Any) -> Any:  # samples do not mix, so one pass serves all of them
        one = tf.broadcast_to(tf.reshape(tf.one_hot(unit, size), head.shape[1:]), tf.shape(head))
        one = tf.cast(one, head.dtype)
        bend = outer.gradient(slope, head, output_gradients=one, unconnected_gradients="zero")
        return one * bend

    return head, tf.reduce_sum(
        tf.map_fn(of_unit, tf.range(size), fn_output_signature=head.dtype), 0
    )


def _pull_back(function: Callable[[Any], Any], at: Any, by: Any) -> Any:
    """The gradient of a function at a point, where `by` is the gradient of its outputs."""
    point = tf.convert_to_tensor(at)
    with tf.GradientTape() as tape:
        tape.watch(point)
        outputs = function(point)
    return tape.gradient(outputs, point, output_gradients=by)


def _pass_elementwise(
    layer: Any, function: Callable[[Any], Any], a: Any, second: Any, first: Any
) -> Any:
    """Second derivatives from behind an elementwise function to before it."""
    activation = getattr(layer, "activation", None)
    if isinstance(layer, layers.Softmax) or activation in SOFTMAX:
        raise ValueError(
            f"{layer.name} has a softmax that the loss does not look behind; the backward diagonal "
            'needs elementwise activations. Write estimator="gauss_newton".'
        )
    with tf.GradientTape() as outer:
        outer.watch(a)
        with tf.GradientTape() as inner:
            inner.watch(a)
            outputs = function(a)
        slope = inner.gradient(outputs, a)
    found = slope**2 * second
    if first is not None:
        bend = outer.gradient(slope, a, unconnected_gradients="zero")
        found += bend * first
    return found


def _window_size(layer: Any, given: Any) -> Any:
    """How many inputs each output is the mean of; 1 where it is one of them."""
    if isinstance(layer, WHOLE):
        return math.prod(
            given.shape[1:-1] if layer.data_format == "channels_last" else given.shape[2:]
        )
    if not isinstance(layer, WINDOWED):
        return 1
    ones = tf.ones((1, *given.shape[1:-1], 1), given.dtype)
    kernel = tf.ones((*layer.pool_size, 1, 1), given.dtype)
    return keras.ops.conv(ones, kernel, list(layer.strides), layer.padding)


SOFTMAX = (keras.activations.softmax, keras.activations.log_softmax)
