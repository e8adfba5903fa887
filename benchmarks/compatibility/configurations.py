"""Makes small models: every layer of Keras with weights, KerasHub's families, applications."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

Models = Iterator[tuple[str, Callable[[], Any]]]

# Values of required arguments of layers, by name.
ARGUMENTS: dict[str, Any] = {
    "units": 4,
    "filters": 4,
    "kernel_size": 3,
    "input_dim": 8,
    "output_dim": 4,
    "num_heads": 2,
    "groups": 2,
    "head_dim": 2,
    "key_dim": 2,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
    "equation": "abc,cd->abd",
    "output_shape": (None, 4),
}
SHAPES = [(8,), (6, 4), (8, 8, 4), (6, 8, 8, 4), (4, 6, 8, 8, 4)]

# Values of arguments of KerasHub's backbones, by name; the first part of a name counts too.
TINY: dict[str, Any] = {
    "vocabulary_size": 50,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "embedding_dim": 8,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
    "num_attention_heads": 2,
    "head_dim": 8,
    "max_sequence_length": 32,
    "num_experts": 4,
    "top_k": 2,
    "bucket_size": 8,
    "global_head_dim": 8,
    "num_shared_experts": 1,
    "moe_intermediate_dim": 16,
    "shared_expert_intermediate_dim": 16,
    "rope_max_wavelength": 10000,
    "sliding_window": 8,
    "sliding_window_size": 8,
    "num_classes": 2,
    "backbone_num_layers": 2,
    "stackwise_num_filters": [16, 16],
    "image_shape": (32, 32, 3),
    "input_conv_filters": [8],
    "input_conv_kernel_sizes": [3],
    "stackwise_num_blocks": [1, 1],
    "stackwise_num_strides": [1, 2],
    "block_type": "basic_block",
    "patch_size": 8,
    "num_mels": 20,
    "num_features": 20,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
}
OWN: dict[str, dict[str, Any]] = {
    "AlbertBackbone": {"num_groups": 1, "num_inner_repetitions": 1},
    "DenseNetBackbone": {"stackwise_num_repeats": [2, 2], "growth_rate": 8},
    "GemmaBackbone": {"num_key_value_heads": 1},
    "ResNetBackbone": {"use_pre_activation": False},
    "VGGBackbone": {"stackwise_num_repeats": [1, 1]},
    "ViTBackbone": {"mlp_dim": 32},
    "XceptionBackbone": {
        "stackwise_conv_filters": [[8, 8], [8, 8]],
        "stackwise_pooling": [True, False],
    },
}
SUFFIX = "Backbone"


def layers() -> Models:
    """Yields a model of each layer of Keras that has weights, as far as it can be made."""
    import keras

    seen = set()
    for name, kind in sorted(vars(keras.layers).items()):
        if not isinstance(kind, type) or kind in seen:  # Convolution2D is Conv2D
            continue
        seen.add(kind)
        for shape in SHAPES[1:] if "Attention" in name else SHAPES:
            make = functools.partial(_make_layer_model, name, shape)
            try:
                if make().weights:
                    yield name, make
                    break
            except Exception:  # another shape
                continue


def _make_layer_model(name: str, shape: tuple[int, ...]) -> Any:
    import keras

    kind = getattr(keras.layers, name)
    dense, cell = keras.layers.Dense(4), keras.layers.GRUCell(4)
    integers = "Embedding" in name
    x = keras.Input(shape, dtype="int32" if integers else "float32")
    if name == "StackedRNNCells" or name.endswith("Cell"):
        cells = [cell, keras.layers.LSTMCell(3)]
        made = kind(cells) if name == "StackedRNNCells" else kind(4)
        return keras.Model(x, keras.layers.RNN(made)(x))
    wrapped = {"RNN": cell, "Bidirectional": keras.layers.LSTM(4)}
    if name in wrapped:
        return keras.Model(x, kind(wrapped[name])(x))
    if name in ("Wrapper", "TimeDistributed", "SpectralNormalization"):
        return keras.Model(x, kind(dense)(x))
    parameters = inspect.signature(kind).parameters.values()
    required = [each.name for each in parameters if each.default is each.empty]
    if name == "GroupNormalization":
        required.append("groups")
    layer = kind(**{each: ARGUMENTS[each] for each in required if each in ARGUMENTS})
    if "value" in inspect.signature(layer.call).parameters:
        return keras.Model(x, layer(x, x))
    return keras.Model(x, layer([x, x] if "Attention" in name else x))


def hub() -> Models:
    """Yields a tiny model of each family of KerasHub whose arguments are known here."""
    import keras_hub

    for name, kind in sorted(vars(keras_hub.models).items()):
        if name.endswith(SUFFIX) and name != SUFFIX and inspect.isclass(kind):
            make = functools.partial(_make_backbone, name)
            try:
                make()
            except Exception:  # wants arguments of its own
                continue
            yield name.removesuffix(SUFFIX), make


def _make_backbone(name: str) -> Any:
    import keras_hub

    kind = getattr(keras_hub.models, name)
    parameters = inspect.signature(kind).parameters
    known = TINY | OWN.get(name, {})
    return kind(**{each: known[each] for each in parameters if each in known})


def applications() -> Models:
    """Yields every network of keras.applications, at the smallest size of images that it takes."""
    import keras

    for name, make in sorted(vars(keras.applications).items()):
        if inspect.isfunction(make):
            yield name, functools.partial(_make_application, name)


def _make_application(name: str) -> Any:
    import keras

    make = getattr(keras.applications, name)
    for size in (32, 71, 75, 128, 224, 299, 331):
        try:
            return make(weights=None, input_shape=(size, size, 3), classes=4)
        except ValueError:
            continue
    return make(weights=None, classes=4)


GROUPS: dict[str, Callable[[], Models]] = {
    "layers": layers,
    "hub": hub,
    "applications": applications,
}
