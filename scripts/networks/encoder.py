"""Builds a BERT that classifies sentences, and the batches of tokens that it takes."""

import math
from collections.abc import Sequence
from pathlib import Path

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from data.sentences import Sentences

PRUNED = "transformer_layer.*"  # the encoder; embeddings, pooler and classifier stay dense
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BOUNDARIES = 9, 13, 17, 25, 33, 49  # tokens; batches of one length waste less on padding

Classifier = keras_hub.models.BertTextClassifier
Preprocessor = keras_hub.models.BertTextClassifierPreprocessor


def small(texts: Sequence[str], words: int = 1000, seed: int = 0) -> Classifier:
    """Makes a small, untrained classifier, with a vocabulary of the texts' own.

    Use it where there is no pre-trained encoder. Two layers, 64 wide, 4 heads.

    Args:
        texts: from which the word pieces are computed.
        words: pieces in the vocabulary, at most.
        seed: of the weights.

    Example:
        >>> small(["a moving plot", "a dull plot"]).count_params()
        72258
    """
    vocabulary = keras_hub.tokenizers.compute_word_piece_vocabulary(
        tf.data.Dataset.from_tensor_slices(list(texts)),
        vocabulary_size=words,
        lowercase=True,
        strip_accents=True,
        reserved_tokens=SPECIAL,
    )
    keras.utils.set_random_seed(seed)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=2,
        num_heads=4,
        hidden_dim=64,
        intermediate_dim=256,
        max_sequence_length=64,
    )
    tokenizer = keras_hub.models.BertTokenizer(vocabulary, lowercase=True, strip_accents=True)
    return Classifier(backbone, num_classes=2, preprocessor=preprocessor(tokenizer))


def load(preset: str, seed: int = 0) -> Classifier:
    """Loads a classifier, or an encoder to which a new classification layer is added.

    Args:
        preset: folder that KerasHub's `save_to_preset` or `benchmarks.accuracy.minilm` wrote.
        seed: of the weights of a new classifier.

    Raises:
        ValueError: there is no such folder, or it holds something else.
    """
    if not (Path(preset) / "config.json").is_file():
        raise ValueError(
            f"--load={preset} has no config.json; expected the folder of a preset. Write one with "
            f"python -m benchmarks.accuracy.minilm --output={preset}"
        )
    keras.utils.set_random_seed(seed)
    if (Path(preset) / "task.json").is_file():
        return Classifier.from_preset(preset)
    tokenizer = keras_hub.models.BertTokenizer.from_preset(preset)
    backbone = keras_hub.models.BertBackbone.from_preset(preset)
    backbone.token_embedding.trainable = False  # half of all weights; a short training updates few
    return Classifier(backbone, num_classes=2, preprocessor=preprocessor(tokenizer))


def save(model: Classifier, make: Preprocessor, directory: Path) -> None:
    """Writes a classifier of sentences as a preset, without the state of its optimizer.

    Args:
        model: trained on tokens; stripped.
        make: its preprocessor, which the preset takes along.
        directory: of the preset; its files are replaced.
    """
    new = Classifier(model.backbone, model.num_classes, preprocessor=make)
    new.output_dense.set_weights(model.output_dense.get_weights())
    directory.mkdir(parents=True, exist_ok=True)
    new.save_to_preset(str(directory))


def preprocessor(tokenizer: keras_hub.models.BertTokenizer, tokens: int = 64) -> Preprocessor:
    """Returns what makes `[CLS] tokens [SEP]` of a sentence, at most so many."""
    return Preprocessor(tokenizer, sequence_length=tokens)


def batches(
    make: Preprocessor, found: Sentences, batch_size: int, seed: int | None = None
) -> tf.data.Dataset:
    """Returns batches of tokens and labels, padded to the longest of each batch.

    Sentences of about one length come together. The tokens are made once, here.

    Args:
        make: the preprocessor of a classifier.
        found: sentences and their labels.
        batch_size: sentences in a batch; the last ones of each length are fewer.
        seed: of the order, another one each epoch. Default: in order of length, not shuffled.

    Example:
        >>> x, y = next(iter(batches(classifier.preprocessor, splits.test, 32)))
        >>> x["token_ids"].shape, y.shape
        (TensorShape([32, 8]), TensorShape([32]))
    """
    inputs = make(list(found.texts))
    lengths = np.asarray(inputs["padding_mask"]).sum(axis=1)
    ids = tf.RaggedTensor.from_tensor(np.asarray(inputs["token_ids"]), lengths=lengths)
    data = tf.data.Dataset.from_tensor_slices((ids, found.labels))
    if seed is not None:
        data = data.shuffle(len(found), seed=seed, reshuffle_each_iteration=True)
    data = data.map(lambda tokens, label: (_inputs(tokens), label))
    data = data.bucket_by_sequence_length(
        lambda x, _: tf.shape(x["token_ids"])[0],
        bucket_boundaries=BOUNDARIES,
        bucket_batch_sizes=[batch_size] * (len(BOUNDARIES) + 1),
    )
    counts = np.bincount(np.searchsorted(BOUNDARIES, lengths, side="right"))
    steps = sum(math.ceil(count / batch_size) for count in counts)
    return data.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)


def _inputs(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
    return {
        "token_ids": tokens,
        "segment_ids": tf.zeros_like(tokens),
        "padding_mask": tf.ones_like(tokens),
    }


def compile(model: Classifier, rate: float, epochs: int, data: tf.data.Dataset) -> None:
    """Compiles a classifier for tokens, the learning rate falling to zero along a line.

    Args:
        model: whose preprocessor is taken off: the batches hold tokens already.
        rate: AdamW's at the start.
        epochs: of the training to come.
        data: its batches.
    """
    model.preprocessor = None
    steps = max(1, epochs * int(data.cardinality()))
    model.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.PolynomialDecay(rate, steps, 0.0),
            weight_decay=0.01,
            global_clipnorm=1.0,  # a mask update is followed by large gradients
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # batches have many lengths, and each would be compiled
    )


def accuracy(model: Classifier, data: tf.data.Dataset) -> float:
    """Returns the fraction of sentences that are classified correctly, in [0, 1]."""
    return float(model.evaluate(data, verbose=0, return_dict=True)["accuracy"])
