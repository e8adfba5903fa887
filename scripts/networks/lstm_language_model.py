"""Builds, trains and evaluates a stacked LSTM language model."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from data import corpus
from training.stages import Stages

ACCUMULATED = 1e-6  # where Adagrad's sums begin: below the squares of most gradients of a mean


def build(
    vocabulary: int, width: int, layers: int = 2, dropout: float = 0.0, streams: int | None = None
) -> keras.Model:
    """Returns Embedding, dropout, LSTMs with dropout, and a Dense layer that gives logits.

    Args:
        vocabulary: number of words.
        width: of the embedding and of each LSTM.
        layers: number of LSTMs.
        dropout: rate before and after each LSTM.
        streams: how many streams the LSTMs carry their states along, from one window to the
            next. Default: each input begins with states of zero.

    Example:
        >>> build(10_000, 64).count_params()
        1356048
    """
    tokens = keras.Input(batch_shape=(streams, None), dtype="int32", name="tokens")
    hidden = keras.layers.Embedding(vocabulary, width, name="embedding")(tokens)
    hidden = keras.layers.Dropout(dropout)(hidden)
    for index in range(layers):
        hidden = keras.layers.LSTM(
            width, return_sequences=True, stateful=streams is not None, name=f"lstm_{index + 1}"
        )(hidden)
        hidden = keras.layers.Dropout(dropout)(hidden)
    logits = keras.layers.Dense(vocabulary, name="output")(hidden)
    return keras.Model(tokens, logits, name=f"lstm_{layers}x{width}")


class NextWordLoss(keras.layers.Layer):
    """The mean cross-entropy of the next word, over all words or over sampled ones.

    Use sampled words to train with a large vocabulary, where most of the time goes into the
    output layer; perplexities are always over all words. The sampled words are drawn
    log-uniformly, which suits words numbered by frequency, and each logit is corrected by the
    expected count of its word: `logit - log Q(word)`.

    Args:
        output: the Dense layer that gives the logits; its variables are shared.
        sampled: how many words are drawn for each update; 0 takes all.

    Reference:
        Jean, Cho, Memisevic and Bengio, On Using Very Large Target Vocabulary for Neural Machine
        Translation, 2015.
    """

    def __init__(self, output: keras.layers.Dense, sampled: int = 0) -> None:
        super().__init__(name="next_word_loss")
        self.output_layer = output
        self.sampled = sampled

    def call(self, hidden: Any, targets: Any) -> Any:
        """Adds the loss; returns the cross-entropy of each word that counts, [words]."""
        counted = tf.not_equal(targets, corpus.PAD)
        hidden, targets = tf.boolean_mask(hidden, counted), tf.boolean_mask(targets, counted)
        if self.sampled:
            losses = tf.nn.sampled_softmax_loss(
                weights=tf.transpose(self.output_layer.kernel.value),
                biases=self.output_layer.bias.value,
                labels=tf.cast(targets, tf.int64)[:, None],
                inputs=hidden,
                num_sampled=self.sampled,
                num_classes=self.output_layer.units,
            )
        else:
            losses = cross_entropy(targets, self.output_layer(hidden))
        self.add_loss(tf.reduce_mean(losses))
        return losses


class ForgetStates(keras.callbacks.Callback):
    """Lets every epoch begin with states of zero, as the text begins anew."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Sets the states to zero."""
        forget_states(self.model)


def initialize_bias(model: keras.Model, tokens: corpus.Array) -> None:
    """Sets a new model's biases to the logarithms of the frequencies of the words in a text.

    So training starts from the frequencies in place of learning them first, which takes long for
    rare words, of which few are sampled.

    Args:
        model: of `build`.
        tokens: int32 [tokens], the training text.
    """
    bias = model.get_layer("output").bias
    counts = np.bincount(tokens, minlength=bias.shape[0]) + 1.0
    bias.assign(np.log(counts / counts.sum()).astype(np.float32))


def objective(model: keras.Model, sampled: int = 0) -> keras.Model:
    """Returns a model to train in place of a language model, whose variables it shares.

    Args:
        model: of `build`.
        sampled: as in `NextWordLoss`.
    """
    output = model.get_layer("output")
    targets = keras.Input(batch_shape=model.input.shape, dtype="int32", name="targets")
    loss = NextWordLoss(output, sampled)(output.input, targets)
    return keras.Model([model.input, targets], loss, name=model.name)


def fit(
    stages: Stages,
    name: str,
    model: keras.Model,
    data: corpus.Windows,
    epochs: int,
    learning_rate: float,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains by truncated back-propagation: Adagrad, clipped, the rate falling along a cosine.

    Adagrad gives rare words, which have a gradient now and then, steps as large as frequent ones.

    Args:
        stages: where the state is kept.
        name: of this stage.
        model: of `objective`; wrapped, where the callbacks prune it.
        data: windows of the training text, with as many streams as the model has.
        epochs: how often the text is read.
        learning_rate: at the start.
        callbacks: take part in the training.
    """
    updates = max(1, epochs * len(data.inputs))
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, updates)
    optimizer = keras.optimizers.Adagrad(
        rate, initial_accumulator_value=ACCUMULATED, global_clipnorm=1.0
    )
    model.compile(optimizer)
    pairs = tf.data.Dataset.from_tensor_slices(((data.inputs, data.targets),))
    stages.fit(name, model, pairs, epochs, [ForgetStates(), *callbacks], shuffle=False)


def perplexity(model: keras.Model, data: corpus.Windows) -> float:
    """Returns `exp(mean -log p(word))` over every word of a text, over all words.

    Args:
        model: of `build`, with as many streams as the windows have.
        data: windows of the text.
    """
    forget_states(model)
    total = 0.0
    for inputs, targets in zip(data.inputs, data.targets, strict=True):
        counted = targets != corpus.PAD
        logits = model(inputs, training=False)[counted]
        total += float(tf.reduce_sum(cross_entropy(targets[counted], logits)))
    forget_states(model)
    return math.exp(total / data.tokens)


def cross_entropy(targets: Any, logits: Any) -> Any:
    """Returns `-log softmax(logits)[target]`, [words] from [words] and [words, vocabulary]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)


def forget_states(model: keras.Model) -> None:
    """Sets the states that the LSTMs carry to zero."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            layer.reset_state()


def save_plain(model: keras.Model, path: Path) -> keras.Model:
    """Writes a `.keras` file that takes any number of texts of any length; returns its model."""
    lstms = [layer for layer in model.layers if isinstance(layer, keras.layers.LSTM)]
    dropout = next(each.rate for each in model.layers if isinstance(each, keras.layers.Dropout))
    plain = build(model.output.shape[-1], lstms[0].units, len(lstms), dropout)
    plain.set_weights([each.numpy() for each in model.trainable_variables])
    plain.save(path)
    return plain
