"""Counts the multiplications and additions of layers in one call of a model.

Register a counter for a layer of your own by `kprune.budgets.COUNTERS[MyLayer] = counter`.
"""

import contextlib
import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from kprune._keras import backend, hooks, walk
from kprune._masking import locations

layers = keras.layers

Call: TypeAlias = Mapping[str, Any]  # the arguments of a layer's call, by name
# What a layer multiplies and adds, from the layer, its call and its outputs: by the `id` of a
# kernel, and by 0 for products of two tensors.
Counter: TypeAlias = Callable[[Any, Call, Any], dict[int, int]]


@dataclasses.dataclass
class Counts:
    """What one call of a model does.

    Args:
        macs: multiplications and additions by the `id` of a kernel.
        products: those of products of two tensors, by the `id` of the layer.
        activations: the most bytes that one layer reads and writes.
        uncounted: layers with matrices, or attention, for which there is no rule.
    """

    macs: dict[int, int] = dataclasses.field(default_factory=dict)
    products: dict[int, int] = dataclasses.field(default_factory=dict)
    activations: int = 0
    uncounted: list[Any] = dataclasses.field(default_factory=list)

    def add(self, layer: Any, found: dict[int, int]) -> None:
        """Adds what a call of a layer does."""
        for key, macs in found.items():
            sums, name = (self.macs, key) if key else (self.products, id(layer))
            sums[name] = sums.get(name, 0) + macs


def count_kernel(layer: Any, call: Call, outputs: Any) -> dict[int, int]:
    """Counts `y = x W` and convolutions: for each output, the inputs that it sums."""
    kernel = _kernel(layer)
    rows = math.prod(kernel.shape[axis] for axis in locations.input_axes(layer, kernel))
    return {id(kernel): _size(outputs) * rows}


def count_separable(layer: Any, call: Call, outputs: Any) -> dict[int, int]:
    """Counts a depthwise convolution, and the pointwise one after it."""
    places = _size(outputs) // layer.filters
    kernels = layer.depthwise_kernel, layer.pointwise_kernel
    return {id(each): places * math.prod(each.shape) for each in kernels}


def count_transposed(layer: Any, call: Call, outputs: Any) -> dict[int, int]:
    """Counts what each input is multiplied with."""
    kernel = _kernel(layer)
    return {id(kernel): _size(_first(call)) * math.prod(kernel.shape[:-1])}


def count_recurrent(layer: Any, call: Call, outputs: Any) -> dict[int, int]:
    """Counts every matrix of the cells once for each step of each sample."""
    samples, steps, *_ = _first(call).shape
    if not isinstance(layer, layers.ConvLSTM1D | layers.ConvLSTM2D | layers.ConvLSTM3D):
        kernels = [each for cell in walk.layers(layer) for each in _kernels(cell)]
        return {id(each): samples * steps * math.prod(each.shape) for each in kernels}
    # [samples, (steps,) *space, filters] or its channels first; each step writes one such state.
    places = _size(outputs) // layer.cell.filters // (steps if layer.return_sequences else 1)
    kernels = [layer.cell.kernel, layer.cell.recurrent_kernel]
    return {id(each): steps * places * math.prod(each.shape) for each in kernels}


def count_attention(layer: Any, call: Call, outputs: Any) -> dict[int, int]:
    """Counts `Q K^T` and `P V`; the projections are layers of their own."""
    query, value = call["query"], call["value"]
    samples, places = query.shape[0], math.prod(query.shape[1:-1])
    seen = math.prod(value.shape[1:-1])
    if isinstance(layer, layers.GroupQueryAttention):
        width = 2 * layer.num_query_heads * layer.head_dim
    else:
        width = layer.num_heads * (layer.key_dim + layer.value_dim)
    return {0: samples * places * seen * width}


def count_plain_attention(layer: Any, call: Call, outputs: Any) -> dict[int, int]:
    """Counts `Q K^T` and `P V` of attention without projections."""
    query, value, *key = call["inputs"]
    width = (key[0] if key else value).shape[-1] + value.shape[-1]
    return {0: query.shape[0] * query.shape[1] * value.shape[1] * width}


def count_embedding(layer: Any, call: Call, outputs: Any) -> dict[int, int]:
    """Counts nothing for a lookup, and the product with all rows for a reverse call."""
    if not call.get("reverse"):
        return {}
    is_tied = getattr(layer, "tie_weights", True)
    table = layer.embeddings if is_tied else layer.reverse_embeddings
    return {id(table): _size(outputs) * layer.output_dim}


COUNTERS: dict[type, Counter] = {
    layers.Dense: count_kernel,
    layers.EinsumDense: count_kernel,
    **dict.fromkeys((layers.Conv1D, layers.Conv2D, layers.Conv3D), count_kernel),
    **dict.fromkeys(locations.DEPTHWISE, count_kernel),
    **dict.fromkeys(locations.SEPARABLE, count_separable),
    **dict.fromkeys(locations.TRANSPOSED, count_transposed),
    layers.RNN: count_recurrent,
    layers.MultiHeadAttention: count_attention,
    layers.GroupQueryAttention: count_attention,
    layers.Attention: count_plain_attention,
    layers.Embedding: count_embedding,
}


ADDED = ("bias", "embeddings")  # ends of names of what is added; a GRU's bias has two axes

ELEMENTWISE = (  # of which a tensor of several axes is no matrix
    layers.PReLU,
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.RMSNormalization,
)


def count(model: keras.Model, arguments: Sequence[Any]) -> Counts:
    """Calls a model once, and counts what each layer multiplies and adds.

    Args:
        model: a built model; states that the call changes are put back.
        arguments: of its call.
    """
    counts = Counts()
    inside: set[int] = set()  # what a recurrent layer counts itself

    def make_call(layer: Any, counter: Counter | None) -> Callable[..., Any]:
        names = list(inspect.signature(layer.call).parameters)

        def call(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            outputs = original(*args, **kwargs)
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            if counter is not None:
                counts.add(layer, counter(layer, given, keras.tree.flatten(outputs)[0]))
            touched = [each for each in keras.tree.flatten((given, outputs)) if _is_tensor(each)]
            counts.activations = max(counts.activations, sum(map(_bytes, touched)))
            return outputs

        return call

    with contextlib.ExitStack() as stack:
        stack.enter_context(_states_restored(model))
        for layer in walk.layers(model):
            if id(layer) in inside:
                continue
            if isinstance(layer, layers.RNN):
                inside.update(id(each) for each in walk.layers(layer)[1:])
            counter = _find_counter(layer)
            if counter is None and _multiplies(layer):
                counts.uncounted.append(layer)
            if layer is not model and (counter is not None or not walk.children(layer)):
                stack.enter_context(hooks.replace_call(layer, make_call(layer, counter)))
        stack.enter_context(backend.eagerly())  # each step of a loop is a call then
        model(*arguments, training=False)
    return counts


@contextlib.contextmanager
def _states_restored(model: keras.Model) -> Iterator[None]:
    """Puts back what a call changes, such as the states of recurrent layers."""
    owned = ((layer, each) for layer in walk.layers(model) for each in walk.variables(layer))
    states = [each for layer, each in owned if walk.is_state(layer, each)]
    for layer in walk.layers(model):
        if isinstance(layer, layers.RNN) and layer.stateful:  # whose states no list of Keras has
            states += keras.tree.flatten(layer.states)
    held = [(each, backend.copy(each)) for each in states]
    try:
        yield
    finally:
        for variable, value in held:
            variable.assign(value)


def _first(call: Call) -> Any:
    """Returns the first argument of a call."""
    return next(iter(call.values()))


def _find_counter(layer: Any) -> Counter | None:
    return next((COUNTERS[base] for base in type(layer).__mro__ if base in COUNTERS), None)


def _kernel(layer: Any) -> Any:
    """Returns the kernel of a layer that has one, without its LoRA part."""
    return next(each for each in walk.variables(layer) if each.name == "kernel")


def _kernels(layer: Any) -> list[Any]:
    """Returns the matrices of a layer's own that it multiplies with."""
    own = (each for each in walk.variables(layer) if not walk.is_state(layer, each))
    # `SpectralNormalization` holds the kernel of the layer in it as well.
    inner = {id(each) for child in walk.children(layer) for each in child.weights}
    return [
        each
        for each in own
        if len(each.shape) > 1 and id(each) not in inner and not each.name.endswith(ADDED)
    ]


def _multiplies(layer: Any) -> bool:
    """Returns whether a layer has matrices, or multiplies tensors by its name."""
    is_attention = "Attention" in type(layer).__name__  # KerasHub has many, of no common class
    return is_attention or bool(_kernels(layer)) and not isinstance(layer, ELEMENTWISE)


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _size(tensor: Any) -> int:
    return math.prod(map(int, tensor.shape))


def _bytes(tensor: Any) -> int:
    bits = re.search(r"\d+", keras.backend.standardize_dtype(tensor.dtype))
    return _size(tensor) * (int(bits[0]) // 8 if bits else 1)
