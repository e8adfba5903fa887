"""Builds an LSTM encoder-decoder with attention, and translates by greedy decoding."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

Array = np.ndarray[Any, Any]
States: TypeAlias = list[list[Any]]  # of each LSTM layer: [h, c], each [batch, width]
Layers: TypeAlias = Callable[[str], keras.layers.Layer]


def build(
    source_words: int, target_words: int, width: int, layers: int, dropout: float
) -> keras.Model:
    """Returns a model from (source ids, target ids before each word) to logits of each word.

    Attention is Luong's "general": `softmax(query W memory) memory` over the last layer's outputs,
    joined with the query and taken through a tanh layer. Its output is not fed back into the next
    step, so all steps train at once.

    Args:
        source_words: ids of the source vocabulary; 0 pads.
        target_words: ids of the target vocabulary.
        width: of the embeddings and of every layer.
        layers: LSTM layers of the encoder, and of the decoder.
        dropout: rate of the inputs of each LSTM layer and of the softmax.

    Reference:
        Luong, Pham and Manning, Effective Approaches to Attention-based Neural Machine
        Translation, 2015.
    """
    dense, embedding = keras.layers.Dense, keras.layers.Embedding
    made: dict[str, keras.layers.Layer] = {
        "source_embedding": embedding(source_words, width, mask_zero=True, name="source_embedding"),
        "target_embedding": embedding(target_words, width, name="target_embedding"),
        "attention_memory": dense(width, use_bias=False, name="attention_memory"),
        "attention": keras.layers.Attention(name="attention"),
        "attention_output": dense(width, "tanh", use_bias=False, name="attention_output"),
        "softmax": dense(target_words, name="softmax"),
        "dropout": keras.layers.Dropout(dropout, name="dropout"),
    }
    for side in ("source", "target"):
        for name in _names(side, layers):
            made[name] = keras.layers.LSTM(
                width, return_sequences=True, return_state=True, name=name
            )
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    memory, states = _encode(made.__getitem__, layers, source)
    logits, _ = _decode(made.__getitem__, target, memory, states)
    return keras.Model([source, target], logits, name="translator")


def classes(layers: int) -> Mapping[str, str]:
    """Returns the classes of weights of See, Luong and Manning, each with a regex of its paths.

    A layer's input matrix and its recurrent matrix are a class each.

    Args:
        layers: LSTM layers of the encoder, and of the decoder.

    Example:
        >>> kprune.wrap(model, classes=classes(2))
    """
    found = {"source embedding": "source_embedding/", "target embedding": "target_embedding/"}
    for side in ("source", "target"):
        for number, name in enumerate(_names(side, layers), 1):
            found[f"{side} layer {number} input"] = f"{name}/.*(?<!recurrent_)kernel$"
            found[f"{side} layer {number} recurrent"] = f"{name}/.*recurrent_kernel$"
    return {**found, "attention": "attention_(memory|output)/", "softmax": "softmax/"}


def greedy(model: keras.Model, start: int, end: int, steps: int) -> Callable[[Array], Array]:
    """Returns a function from source ids to target ids, the likeliest word at every step.

    It is compiled once and follows the model's weights as they change. Words that are no words
    (padding, unknown, start) are never chosen.

    Args:
        model: of `build`.
        start: id before the first word.
        end: id after the last word.
        steps: words of a translation at most, its end included.

    Example:
        >>> translate = greedy(model, start=2, end=3, steps=30)
        >>> ids = translate(source)  # [pair, position], zeros after the end
    """
    layers = sum(each.name.startswith("source_layer_") for each in model.layers)
    forbidden = np.zeros(model.output_shape[-1], np.float32)
    forbidden[[0, 1, start]] = -np.inf

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)])
    def translate(source: tf.Tensor) -> tf.Tensor:
        memory, states = _encode(model.get_layer, layers, source)
        word = tf.fill([tf.shape(source)[0]], start)
        going = tf.ones_like(word, tf.bool)
        words = tf.TensorArray(tf.int32, steps, element_shape=[None])
        for step in tf.range(steps):
            logits, states = _decode(model.get_layer, word[:, None], memory, states)
            word = tf.argmax(logits[:, 0] + forbidden, axis=-1, output_type=tf.int32)
            word = tf.where(going, word, 0)
            going &= word != end
            words = words.write(step, word)
            if not tf.reduce_any(going):
                break
        return tf.transpose(words.stack())  # [pair, step]

    return lambda source: translate(tf.constant(source)).numpy()


def _names(side: str, layers: int) -> list[str]:
    return [f"{side}_layer_{number}" for number in range(1, layers + 1)]


def _encode(layer: Layers, layers: int, source: Any) -> tuple[tuple[Any, Any], States]:
    """Values and keys of the attention, and the states that the decoder starts from."""
    outputs, states = layer("source_embedding")(source), []
    for name in _names("source", layers):
        outputs, *state = layer(name)(layer("dropout")(outputs))
        states.append(state)
    return (outputs, layer("attention_memory")(outputs)), states


def _decode(
    layer: Layers, target: Any, memory: tuple[Any, Any], states: States
) -> tuple[Any, States]:
    """Logits of the words after each of the target's, and the states after the last."""
    outputs, after = layer("target_embedding")(target), []
    for name, state in zip(_names("target", len(states)), states, strict=True):
        outputs, *state = layer(name)(layer("dropout")(outputs), initial_state=state)
        after.append(state)
    context = layer("attention")([outputs, *memory])
    joined = keras.ops.concatenate([context, outputs], axis=-1)
    return layer("softmax")(layer("dropout")(layer("attention_output")(joined))), after
