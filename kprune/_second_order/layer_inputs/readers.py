"""Extracts the inputs of each kernel from a call of its layer, as rows of a matrix.

A reader takes a call of a layer, and returns for each of its kernels the vectors by which the
columns of the kernel's matrix [input, output] (`Weight.view`) are multiplied. Register a reader for
a layer of your own by `kprune.criteria.READERS[MyLayer] = reader`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np

from kprune._keras import backend, private
from kprune._support.typing import Array

layers, ops = keras.layers, keras.ops


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Holds the inputs of one kernel in one call of its layer.

    Args:
        values: [samples, positions, groups, rows], floating: at each position of each sample the
            vector by which the columns of a group are multiplied. Or [samples, positions],
            integers: the index of the row that is looked up.
        group: for each column of the kernel's matrix, its group. Default: one group.
        present: [samples, positions], the weight of each position. Default: one.
    """

    values: Any
    group: Array | None = None
    present: Any = None


Call: TypeAlias = Mapping[str, Any]  # the other arguments of the layer's call, by name
Reader: TypeAlias = Callable[[Any, Any, Call], dict[str, Rows]]


def extract_dense(layer: Any, x: Any, call: Call) -> dict[str, Rows]:
    """Extracts x of `y = x W`, at each position of the axes between the first and the last."""
    return {"kernel": Rows(_flatten(x, x.shape[-1])[:, :, None])}


def extract_einsum_dense(layer: Any, x: Any, call: Call) -> dict[str, Rows]:
    """Extracts x of `y = einsum(equation, x, W)`; letters in x, W and y make groups."""
    given, kernel, result = _parse_equation(layer.equation, len(x.shape))
    summed = "".join(a for a in kernel if a in given and a not in result)
    batch = "".join(a for a in kernel if a in given and a in result)
    places = "".join(a for a in given if a in result and a not in batch)
    values = ops.einsum(f"{given}->{places}{batch}{summed}", x)
    outputs = [a for a in kernel if a not in summed]
    shape = [private.kernel(layer).shape[kernel.index(a)] for a in outputs]
    sizes = [shape[outputs.index(a)] for a in batch]
    values = ops.reshape(values, (*values.shape[: len(places)], math.prod(sizes), -1))
    if not places:
        values = values[None]
    group = None
    if batch:
        grid = np.indices(shape)
        group = np.ravel_multi_index([grid[outputs.index(a)] for a in batch], sizes).reshape(-1)
    return {"kernel": Rows(_flatten(values, *values.shape[-2:]), group)}


def extract_convolution(layer: Any, x: Any, call: Call) -> dict[str, Rows]:
    """Extracts patches of `y = patch(x) W` at each position, for each group of channels."""
    patches = _extract_patches(layer, x)
    *places, window, channels = patches.shape
    patches = patches.reshape(*places, window, layer.groups, channels // layer.groups)
    values = np.swapaxes(patches, 2, 3).reshape(*places, layer.groups, -1)
    per_group = layer.filters // layer.groups
    return {"kernel": Rows(values, np.repeat(np.arange(layer.groups), per_group))}


def extract_depthwise_convolution(layer: Any, x: Any, call: Call) -> dict[str, Rows]:
    """Extracts patches; each channel is a group."""
    values = np.swapaxes(_extract_patches(layer, x), 2, 3)
    return {"kernel": Rows(values, np.repeat(np.arange(values.shape[2]), layer.depth_multiplier))}


def extract_separable_convolution(layer: Any, x: Any, call: Call) -> dict[str, Rows]:
    """Extracts the inputs of the depthwise convolution, and of the pointwise one after it."""
    first = extract_depthwise_convolution(layer, x, call)["kernel"]
    kernel = backend.read(layer.depthwise_kernel)  # [*window, channel, multiplier]
    kernel = kernel.reshape(-1, *kernel.shape[-2:])
    between = np.einsum("npcw,wcm->npcm", first.values, kernel)
    pointwise = between.reshape(*between.shape[:2], 1, -1)
    return {"depthwise_kernel": first, "pointwise_kernel": Rows(pointwise)}


def extract_transposed_convolution(layer: Any, x: Any, call: Call) -> dict[str, Rows]:
    """Extracts for each output position the inputs that reach it through the window."""
    patches = _extract_transposed_patches(layer, x)
    return {"kernel": Rows(patches.reshape(*patches.shape[:2], 1, -1))}


def extract_embedding(layer: Any, x: Any, call: Call) -> dict[str, Rows]:
    """Extracts the indices of the rows that are looked up, but not those of a reverse call."""
    return (
        {}
        if call.get("reverse")
        else {"embeddings": Rows(_flatten(backend.to_numpy(x).astype(np.int64)))}
    )


def extract_position_embedding(layer: Any, x: Any, call: Call) -> dict[str, Rows]:
    """Extracts the positions of a sequence, consecutive unless the call gives them."""
    positions = call.get("positions")
    if positions is None:
        positions = np.arange(x.shape[-2]) + int(call.get("start_index", 0))
    positions = np.broadcast_to(backend.to_numpy(positions), tuple(x.shape[:-1]))
    return {"embeddings": Rows(_flatten(positions))}


def extract_recurrent(layer: Any, x: Any, call: Call) -> dict[str, Rows]:
    """Extracts `x_t` for the kernel and `h_{t-1}` for the recurrent kernel, without masked steps.

    The layer is called once more, for its output at every step. A GRU that resets before the
    product (`reset_after=False`) multiplies the candidate's columns by `r_t * h_{t-1}`.
    """
    cell, mask, states = layer.cell, call.get("mask"), call.get("initial_state")
    if states is None:
        states = layer.states if layer.stateful else layer.get_initial_state(len(x))
        states = [ops.convert_to_tensor(state) for state in keras.tree.flatten(states)]
    first = keras.tree.flatten(states)[0]
    after = _compute_outputs(layer, x, states, mask)  # [samples, steps, units]
    if layer.go_backwards:
        x, mask = ops.flip(x, 1), None if mask is None else ops.flip(mask, 1)
    before = ops.concatenate([ops.cast(first, after.dtype)[:, None], after[:, :-1]], 1)
    present = None if mask is None else ops.cast(mask, "float32")
    rows, group = before[:, :, None], None
    if isinstance(cell, layers.GRUCell) and not cell.reset_after:
        units = cell.units
        kernel, recurrent_kernel = ops.cast(cell.kernel, x.dtype), cell.recurrent_kernel
        gate = ops.matmul(x, kernel[:, units : 2 * units])
        gate += ops.matmul(before, ops.cast(recurrent_kernel, x.dtype)[:, units : 2 * units])
        if cell.use_bias:
            gate += ops.cast(cell.bias, x.dtype)[units : 2 * units]
        rows = ops.stack([before, cell.recurrent_activation(gate) * before], 2)
        group = np.repeat([0, 1], [2 * units, units])
    return {
        "kernel": Rows(x[:, :, None], None, present),
        "recurrent_kernel": Rows(rows, group, present),
    }


# By class, or by the name of a class whose package may be missing.
READERS: dict[type | str, Reader] = {
    layers.Dense: extract_dense,
    layers.EinsumDense: extract_einsum_dense,
    layers.Conv1D: extract_convolution,
    layers.Conv2D: extract_convolution,
    layers.Conv3D: extract_convolution,
    layers.DepthwiseConv1D: extract_depthwise_convolution,
    layers.DepthwiseConv2D: extract_depthwise_convolution,
    layers.SeparableConv1D: extract_separable_convolution,
    layers.SeparableConv2D: extract_separable_convolution,
    layers.Conv1DTranspose: extract_transposed_convolution,
    layers.Conv2DTranspose: extract_transposed_convolution,
    layers.Conv3DTranspose: extract_transposed_convolution,
    layers.Embedding: extract_embedding,
    "PositionEmbedding": extract_position_embedding,  # KerasHub's
    layers.SimpleRNN: extract_recurrent,
    layers.LSTM: extract_recurrent,
    layers.GRU: extract_recurrent,
}


def find_reader(layer: keras.layers.Layer) -> Reader | None:
    """Returns the reader of a layer's class, or of its nearest base class with one."""
    keys = [key for base in type(layer).__mro__ for key in (base, base.__name__)]
    return next((READERS[key] for key in keys if key in READERS), None)


def _flatten(x: Any, *last: int) -> Any:
    """Flattens the axes between the first and the given last ones."""
    return ops.reshape(x, (x.shape[0], math.prod(x.shape[1 : len(x.shape) - len(last)]), *last))


def _parse_equation(equation: str, rank: int) -> tuple[str, str, str]:
    """Returns the letters of `given,kernel->result`, with letters in place of an ellipsis."""
    given, rest = equation.replace(" ", "").split(",")
    kernel, result = rest.split("->")
    free = [a for a in "ABCDEFGHIJ" if a not in equation][: rank - len(given.replace("...", ""))]
    given, result = (letters.replace("...", "".join(free)) for letters in (given, result))
    return given, kernel, result


def _extract_patches(layer: Any, x: Any) -> Array:
    """Returns the patches of a convolution, [samples, positions, window, channel]."""
    x = _move_channels_last(layer, x)
    samples, *space, channels = x.shape
    reach = [(k - 1) * d + 1 for k, d in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
    before, after = [0] * len(space), [0] * len(space)
    if layer.padding == "causal":
        before = [reach[0] - 1]
    elif layer.padding == "same":
        for axis, (size, stride) in enumerate(zip(space, layer.strides, strict=True)):
            total = max((math.ceil(size / stride) - 1) * stride + reach[axis] - size, 0)
            before[axis], after[axis] = total // 2, total - total // 2
    x = np.pad(x, [(0, 0), *zip(before, after, strict=True), (0, 0)])
    axes = tuple(range(1, 1 + len(space)))
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, axes)  # [n, *place, channel, *reach]
    every = [slice(None, None, stride) for stride in layer.strides]
    within = [slice(None, None, rate) for rate in layer.dilation_rate]
    seen = np.moveaxis(seen[(slice(None), *every, slice(None), *within)], 1 + len(space), -1)
    return seen.reshape(samples, -1, math.prod(layer.kernel_size), channels)


def _extract_transposed_patches(layer: Any, x: Any) -> Array:
    """Returns the patches of a transposed convolution, [samples, positions, window, channel].

    The layer's own operation is called for each channel with one output for each element of the
    window, whose kernel is one there and zero elsewhere, so any padding is right.
    """
    x = _move_channels_last(layer, x)
    samples, *space, channels = x.shape
    folded = np.moveaxis(x, -1, 1).reshape(samples * channels, *space, 1)
    size = math.prod(layer.kernel_size)
    patches = ops.conv_transpose(
        folded,
        np.eye(size, dtype=x.dtype).reshape(*layer.kernel_size, size, 1),
        list(layer.strides),
        layer.padding,
        layer.output_padding,
        "channels_last",
        layer.dilation_rate,
    )
    return backend.to_numpy(patches).reshape(samples, channels, -1, size).transpose(0, 2, 3, 1)


def _move_channels_last(layer: Any, x: Any) -> Array:
    x = backend.to_numpy(x)
    x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
    return np.moveaxis(x, 1, -1) if layer.data_format == "channels_first" else x


def _compute_outputs(layer: Any, x: Any, states: Any, mask: Any) -> Any:
    """Returns the outputs of a recurrent layer at every step, without a change to its state."""
    settings = ("return_sequences", "return_state", "zero_output_for_mask", "stateful")
    own_values = [getattr(layer, name) for name in settings]
    try:
        for name, value in zip(settings, (True, False, False, False), strict=True):
            setattr(layer, name, value)
        return type(layer).call(layer, x, initial_state=states, mask=mask, training=False)
    finally:
        for name, value in zip(settings, own_values, strict=True):
            setattr(layer, name, value)
