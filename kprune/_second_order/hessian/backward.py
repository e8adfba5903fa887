"""Propagates second derivatives from the loss to the inputs (LeCun's backward diagonal).

For a chain of layers `a = W x`, `x' = f(a)`, ignoring the cross terms between units:

    d2E/dw_ij^2 = d2E/da_i^2 * x_j^2
    d2E/dx_j^2  = sum_i w_ij^2 * d2E/da_i^2
    d2E/da_i^2  = f'(a_i)^2 * d2E/dx'_i^2 + f''(a_i) * dE/dx'_i

Both sums are gradients through the same linear operation with squared inputs or squared weights, so
they are computed by the layer's own gradient, for every kind of convolution.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import keras

from kprune import calibration
from kprune._keras import graphs, private
from kprune._keras.tensorflow import tf
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
# Layers whose outputs are each one of the inputs, or zero.
ROUTING = (
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
    *(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D),
    *(layers.Flatten, layers.Reshape, layers.Permute),
)
# Layers whose outputs are each the mean of a window of inputs.
WINDOWED = (layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)
GLOBAL = (
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D),
    layers.GlobalAveragePooling3D,
)
SOFTMAX = (keras.activations.softmax, keras.activations.log_softmax)
SUPPORTED = {*LINEAR, *ELEMENTWISE, *ROUTING, *WINDOWED, *GLOBAL, layers.Softmax}


@registration.register
@dataclasses.dataclass(frozen=True)
class Backward(diagonals.DiagonalEstimator):
    """Computes the diagonal of the paper by one backward pass of second derivatives.

    Use it to follow the paper on networks of Dense and Conv layers one after another: it costs
    about as much as a gradient. It is exact for one hidden layer; for more it ignores the cross
    terms between hidden units. A weight of a convolution is summed over its connections.

    `d2E/dw_ij^2 = d2E/da_i^2 * x_j^2`

    Args:
        levenberg_marquardt: whether to drop the second derivative of the activation, so that no
            entry is negative.

    Raises:
        ValueError: by `diagonal`, if the model is no chain of supported layers.

    Example:
        >>> kprune.prune(model, 0.5, kprune.criteria.OBD((x, y), estimator="backward"))

    Reference:
        LeCun, Denker and Solla, Optimal Brain Damage, 1990.
    """

    levenberg_marquardt: bool = True

    def diagonal(self, loss: objective.Objective, data: calibration.Calibration) -> list[Array]:
        """Averages the pass over all batches."""
        chain = _find_chain(loss.model)

        def propagate(x: Any, y: Any, sample_weight: Any) -> list[Any]:
            return self._propagate(loss, chain, x, y, sample_weight)

        return loss.average(data, loss.compile_once(self, propagate), "backward diagonal")

    def _propagate(
        self, loss: objective.Objective, chain: list[Any], x: Any, y: Any, sample_weight: Any
    ) -> list[Any]:
        layer_inputs, layer_outputs = [], []
        sums = {}  # W x + b of linear layers
        outputs = tf.cast(x, loss.variables[0].dtype)
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
            tape.watch((outputs, loss.variables))
            for i, layer in enumerate(chain):
                layer_inputs.append(outputs)
                if isinstance(layer, LINEAR):
                    sums[i] = _apply_linear(layer, outputs, layer.kernel, layer.bias)
                    outputs = layer.activation(sums[i])
                else:
                    outputs = layer(outputs, training=False)
                layer_outputs.append(outputs)
            start, second = _find_output_diagonal(loss, x, y, outputs, sample_weight)
            value = loss.compute_loss(x, y, outputs, sample_weight)

        def pass_function(function: Callable[[Any], Any], i: int, at: Any, second: Any) -> Any:
            if i == len(chain) - 1 and start is not outputs:
                return second  # the loss starts from the logits, before this function
            first = None if self.levenberg_marquardt else tape.gradient(value, layer_outputs[i])
            return _pass_elementwise(chain[i], function, at, second, first)

        diagonals_of: dict[int, Any] = {}
        for i, layer in reversed(list(enumerate(chain))):
            if isinstance(layer, LINEAR):
                second = pass_function(layer.activation, i, sums[i], second)
                diagonals_of |= _weight_diagonal(layer, layer_inputs[i], second)
                squared = functools.partial(_apply_linear, layer, kernel=layer.kernel**2)
                second = _pull_back(squared, layer_inputs[i], second)
            elif isinstance(layer, (*ELEMENTWISE, layers.Softmax)):
                infer = functools.partial(layer, training=False)
                second = pass_function(infer, i, layer_inputs[i], second)
            else:  # coefficients c are 0 and 1, or 0 and 1/n: their squares are c / n
                second = second / _window_size(layer, layer_inputs[i])
                second = _pull_back(layer, layer_inputs[i], second)
        missing = [variable.name for variable in loss.variables if id(variable) not in diagonals_of]
        if missing:
            raise ValueError(
                f"{', '.join(missing)} of {loss.model.name} are no kernels or biases of Dense or "
                'Conv layers, which the backward diagonal is for. Write estimator="gauss_newton".'
            )
        return [diagonals_of[id(variable)] for variable in loss.variables]


def _find_chain(model: keras.Model) -> list[Any]:
    """Returns the layers of a model, each of which gets the outputs of the one before it."""
    operations = graphs.chain(model)
    if operations is None:
        raise ValueError(
            f"{model.name} is no chain of layers, each fed by the one before it, which the "
            'backward diagonal needs. Write estimator="gauss_newton".'
        )
    chain = [layer for layer in operations if not isinstance(layer, layers.InputLayer)]
    for place, layer in enumerate(chain):
        if type(layer) not in SUPPORTED or layer in chain[:place]:
            raise ValueError(
                f"{layer.name} is a {type(layer).__name__}; the backward diagonal takes chains of "
                "Dense and Conv layers, each used once, with activations, pooling and batch "
                'normalisation between them. Write estimator="gauss_newton".'
            )
    return chain


def _apply_linear(layer: Any, x: Any, kernel: Any, bias: Any = None) -> Any:
    kernel = tf.convert_to_tensor(kernel)
    dense = isinstance(layer, layers.Dense)
    sums = tf.tensordot(x, kernel, 1) if dense else layer.convolution_op(x, kernel)
    return sums if bias is None else sums + tf.convert_to_tensor(bias)


def _weight_diagonal(layer: Any, inputs: Any, second: Any) -> dict[int, Any]:
    """Returns second derivatives by the kernel and the bias of a linear layer."""
    apply_squared = functools.partial(_apply_linear, layer, inputs**2)
    of_kernel = _pull_back(apply_squared, layer.kernel, second)
    of_weights = {id(private.kernel(layer).value): of_kernel}
    if layer.bias is not None:
        axes = tuple(range(second.shape.rank - 1))
        of_weights[id(layer.bias.value)] = tf.reduce_sum(second, axes)
    return of_weights


def _find_output_diagonal(
    loss: objective.Objective, x: Any, y: Any, outputs: Any, sample_weight: Any
) -> tuple[Any, Any]:
    """Returns the tensor from which the loss is computed, and second derivatives by it."""
    starts = factors.find_loss_inputs(outputs)
    with tf.GradientTape(watch_accessed_variables=False, persistent=True) as outer:
        outer.watch(starts)
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(starts)
            value = loss.compute_loss(x, y, outputs, sample_weight)
        slopes = inner.gradient(value, starts)
    start, slope = next((t, s) for t, s in zip(starts, slopes, strict=True) if s is not None)
    size = math.prod(start.shape[1:])

    def differentiate_unit(unit: Any) -> Any:  # of all samples at once, since they do not mix
        one = tf.reshape(tf.one_hot(unit, size), start.shape[1:])
        one = tf.cast(tf.broadcast_to(one, tf.shape(start)), start.dtype)
        second = outer.gradient(slope, start, output_gradients=one, unconnected_gradients="zero")
        return one * second

    units = tf.map_fn(differentiate_unit, tf.range(size), fn_output_signature=start.dtype)
    return start, tf.reduce_sum(units, 0)


def _pull_back(function: Callable[[Any], Any], at: Any, by: Any) -> Any:
    """Returns the gradient of a function at a point, given the gradient of its outputs."""
    point = tf.convert_to_tensor(at)
    with tf.GradientTape() as tape:
        tape.watch(point)
        outputs = function(point)
    return tape.gradient(outputs, point, output_gradients=by)


def _pass_elementwise(
    layer: Any, function: Callable[[Any], Any], a: Any, second: Any, first: Any
) -> Any:
    """Passes second derivatives from the outputs of an elementwise function to its inputs."""
    activation = getattr(layer, "activation", None)
    if isinstance(layer, layers.Softmax) or activation in SOFTMAX:
        raise ValueError(
            f"{layer.name} has a softmax whose logits the loss does not use; the backward diagonal "
            'needs elementwise activations. Write estimator="gauss_newton".'
        )
    with tf.GradientTape() as outer:
        outer.watch(a)
        with tf.GradientTape() as inner:
            inner.watch(a)
            outputs = function(a)
        slope = inner.gradient(outputs, a)
    result = slope**2 * second
    if first is not None:
        curvature = outer.gradient(slope, a, unconnected_gradients="zero")
        result += curvature * first
    return result


def _window_size(layer: Any, inputs: Any) -> Any:
    """Returns how many inputs each output is the mean of; 1 if it is one of them."""
    if isinstance(layer, GLOBAL):
        return math.prod(
            inputs.shape[1:-1] if layer.data_format == "channels_last" else inputs.shape[2:]
        )
    if not isinstance(layer, WINDOWED):
        return 1
    ones = tf.ones((1, *inputs.shape[1:-1], 1), inputs.dtype)
    kernel = tf.ones((*layer.pool_size, 1, 1), inputs.dtype)
    return keras.ops.conv(ones, kernel, list(layer.strides), layer.padding)
