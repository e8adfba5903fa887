"""Computes TensorFlow operations in a Functional Keras 2 model with `keras.ops`."""

from collections.abc import Callable
from typing import Any

from keras import ops

from kprune.migrate._errors import MigrationError

CLASSES = ("TFOpLambda", "SlicingOpLambda")  # layers that Keras 2 makes of operations on tensors


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    def compute(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return function(input_tensor, axis=axis, keepdims=keepdims)

    return compute


def _slice(tensor: Any, slice_spec: Any) -> Any:
    parts = slice_spec if isinstance(slice_spec, (list, tuple)) else [slice_spec]
    return tensor[tuple(_to_slice(part) for part in parts)]


def _to_slice(part: Any) -> Any:
    if isinstance(part, dict):
        return slice(part.get("start"), part.get("stop"), part.get("step"))
    return part


def _softmax(logits: Any, axis: int = -1) -> Any:
    return ops.softmax(logits, axis=-1 if axis is None else axis)


# By the name of the function in TensorFlow, with TensorFlow's names of arguments.
OPERATIONS: dict[str, Callable[..., Any]] = {
    "__operators__.add": lambda x, y: ops.add(x, y),
    "__operators__.getitem": _slice,
    "cast": lambda x, dtype: ops.cast(x, getattr(dtype, "name", dtype)),
    "compat.v1.squeeze": lambda input, axis=None, *_: ops.squeeze(input, axis),  # of TF 2 too
    "compat.v1.transpose": lambda a, perm=None, conjugate=False: ops.transpose(a, perm),
    "concat": lambda values, axis: ops.concatenate(values, axis=axis),
    "expand_dims": lambda input, axis: ops.expand_dims(input, axis),
    "math.abs": lambda x: ops.abs(x),
    "math.add": lambda x, y: ops.add(x, y),
    "math.exp": lambda x: ops.exp(x),
    "math.log": lambda x: ops.log(x),
    "math.maximum": lambda x, y: ops.maximum(x, y),
    "math.minimum": lambda x, y: ops.minimum(x, y),
    "math.multiply": lambda x, y: ops.multiply(x, y),
    "math.negative": lambda x: ops.negative(x),
    "math.pow": lambda x, y: ops.power(x, y),
    "math.reduce_max": _reduce(ops.max),
    "math.reduce_mean": _reduce(ops.mean),
    "math.reduce_min": _reduce(ops.min),
    "math.reduce_sum": _reduce(ops.sum),
    "math.rsqrt": lambda x: ops.rsqrt(x),
    "math.sigmoid": lambda x: ops.sigmoid(x),
    "math.sqrt": lambda x: ops.sqrt(x),
    "math.square": lambda x: ops.square(x),
    "math.subtract": lambda x, y: ops.subtract(x, y),
    "math.tanh": lambda x: ops.tanh(x),
    "math.truediv": lambda x, y: ops.true_divide(x, y),
    "nn.elu": lambda features: ops.elu(features),
    "nn.gelu": lambda features, approximate=False: ops.gelu(features, approximate=approximate),
    "nn.relu": lambda features: ops.relu(features),
    "nn.relu6": lambda features: ops.relu6(features),
    "nn.silu": lambda features, beta=1.0: features * ops.sigmoid(beta * features),
    "nn.softmax": _softmax,
    "reshape": lambda tensor, shape: ops.reshape(tensor, shape),
}


def find(layer: Any) -> Callable[..., Any]:
    """Returns the function of `keras.ops` for a layer that stands for an operation.

    Raises:
        MigrationError: there is none.
    """
    function = str(layer.get_config()["function"])
    if function not in OPERATIONS:
        raise MigrationError(
            f"{layer.name} computes tf.{function}, for which kprune knows no function of "
            f"keras.ops; expected layers, or one of {', '.join(sorted(OPERATIONS))}. Write it as "
            "a layer class in Keras 2 and in Keras 3, and give the latter: "
            "from_tfmot(model, custom_objects={'MyLayer': MyKeras3Layer})."
        )
    return OPERATIONS[function]
