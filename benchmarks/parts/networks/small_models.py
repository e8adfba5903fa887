"""Builds the models whose files are measured: four usual ones, and small ones of every layer."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from networks import lenet as lenets

layers = keras.layers

EXAMPLES = 24  # inputs that come with a model


def build(name: str) -> tuple[keras.Model, Any]:
    """Returns a new model, with random weights, and some inputs.

    Args:
        name: one of `MODELS`.
    """
    model = MODELS[name]()
    random = np.random.default_rng(0)
    (tensor,) = model.inputs
    shape = (EXAMPLES, *tensor.shape[1:])
    if tensor.dtype == "int32":
        return model, random.integers(0, 100, shape).astype("int32")
    return model, random.standard_normal(shape).astype("float32")


def transformer(blocks: int = 2, width: int = 128, vocabulary: int = 2000) -> keras.Model:
    """A stack of transformer blocks, four heads each, over 32 tokens."""
    tokens = keras.Input((32,), dtype="int32")
    x = layers.Embedding(vocabulary, width)(tokens)
    for _ in range(blocks):
        attended = layers.MultiHeadAttention(4, width // 4)(x, x)
        x = layers.LayerNormalization()(layers.Add()([x, attended]))
        hidden = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(x))
        x = layers.LayerNormalization()(layers.Add()([x, hidden]))
    return keras.Model(tokens, layers.Dense(64)(layers.GlobalAveragePooling1D()(x)))


def lstm(width: int = 128, vocabulary: int = 2000) -> keras.Model:
    """Two LSTM layers over 20 tokens."""
    tokens = keras.Input((20,), dtype="int32")
    x = layers.Embedding(vocabulary, width)(tokens)
    x = layers.LSTM(width)(layers.LSTM(width, return_sequences=True)(x))
    return keras.Model(tokens, layers.Dense(64)(x))


def mobilenet() -> keras.Model:
    """MobileNetV2 (1.0, 224), without the softmax that rounds int8 outputs to nothing."""
    return keras.applications.MobileNetV2((224, 224, 3), weights=None, classifier_activation=None)


def lenet() -> keras.Model:
    """LeNet-5 as in the scripts."""
    return lenets.lenet_5((28, 28, 1))


def _image(*body: Any, shape: tuple[int, ...] = (12, 12, 16)) -> Callable[[], keras.Model]:
    def make() -> keras.Model:
        inputs = x = keras.Input(shape)
        for layer in body:
            x = layer()(x)
        rank = len(shape)
        pool = {2: layers.GlobalAveragePooling1D, 3: layers.GlobalAveragePooling2D}
        x = pool.get(rank, layers.GlobalAveragePooling3D)()(x)
        return keras.Model(inputs, layers.Dense(40)(x))

    return make


def _text(cell: Any) -> Callable[[], keras.Model]:
    def make() -> keras.Model:
        tokens = keras.Input((8,), dtype="int32")
        x = cell()(layers.Embedding(300, 48)(tokens))
        return keras.Model(tokens, layers.Dense(40)(x))

    return make


def _dense(width: int, hidden: int) -> Callable[[], keras.Model]:
    def make() -> keras.Model:
        return keras.Sequential(
            [keras.Input((width,)), layers.Dense(hidden, activation="relu"), layers.Dense(40)]
        )

    return make


def _tied() -> keras.Model:
    tokens = keras.Input((8,), dtype="int32")
    embedding = layers.Embedding(300, 48)
    x = layers.GlobalAveragePooling1D()(embedding(tokens))
    return keras.Model(tokens, keras.ops.matmul(x, keras.ops.transpose(embedding.embeddings)))


def _attention() -> keras.Model:
    inputs = keras.Input((8, 48))
    x = layers.MultiHeadAttention(2, 24)(inputs, inputs)
    return keras.Model(inputs, layers.Dense(40)(layers.GlobalAveragePooling1D()(x)))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "transformer": transformer,
    "lstm": lstm,
    "mobilenet": mobilenet,
    "lenet": lenet,
    "dense": _dense(128, 96),
    "ragged": _dense(130, 90),
    "wide": _dense(600, 320),
    "convolution": _image(lambda: layers.Conv2D(48, 3), lambda: layers.Conv2D(32, 1)),
    "depthwise": _image(lambda: layers.DepthwiseConv2D(3), lambda: layers.Conv2D(96, 1)),
    "separable": _image(lambda: layers.SeparableConv2D(64, 3, padding="same")),
    "transposed": _image(lambda: layers.Conv2DTranspose(32, 3, strides=2)),
    "series": _image(lambda: layers.Conv1D(64, 5), shape=(24, 32)),
    "volumes": _image(lambda: layers.Conv3D(32, 3), shape=(6, 6, 6, 8)),
    "attention": _attention,
    "tied": _tied,
    "gru": _text(lambda: layers.GRU(64)),
    "rnn": _text(lambda: layers.SimpleRNN(64)),
    "bidirectional": _text(lambda: layers.Bidirectional(layers.LSTM(32))),
}
SMALL = [name for name in MODELS if name not in ("transformer", "lstm", "mobilenet", "lenet")]
