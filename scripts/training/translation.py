"""Trains, retrains and evaluates the translator."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import sacrebleu
import tensorflow as tf

import kprune
from data import bilingual
from data.bilingual import Corpus, Pairs, Vocabulary
from networks import seq2seq

Array = np.ndarray[Any, Any]

JUDGED_AT_ONCE = 250  # pairs in a batch of evaluation


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How large the translator is, and how long and how fast it learns.

    Args:
        vocabulary: words of each language, at most.
        length: tokens of a sentence, at most; longer pairs are left out of every split.
        width: of the embeddings and of every layer.
        layers: LSTM layers of the encoder, and of the decoder.
        dropout: rate of the inputs of each LSTM layer and of the softmax.
        epochs: of dense training, the rate falling to zero along a cosine.
        retrain_epochs: after pruning, the rate halved after each.
        batch_size: pairs in an update.
        learning_rate: Adam's, at the start of dense training.
        retrain_rate: Adam's, at the start of retraining.
    """

    vocabulary: int
    length: int
    width: int
    layers: int
    dropout: float
    epochs: int
    retrain_epochs: int
    batch_size: int
    learning_rate: float
    retrain_rate: float


RECIPES = {
    "numbers": Recipe(100, 30, 64, 1, 0.0, 12, 4, 64, 1e-2, 5e-3),
    # Short pairs and frequent words, so that one core trains it in some minutes.
    "multi30k": Recipe(2000, 12, 128, 1, 0.2, 12, 2, 64, 3e-3, 1e-3),
}


@dataclasses.dataclass(frozen=True)
class Quality:
    """The measured quality of a translator.

    Args:
        bleu: of the greedy translations of the test pairs, in [0, 100].
        exact: fraction of the test pairs translated word for word.
        perplexity: of a word of the test pairs, given those before it.
        validation_perplexity: the same of the validation pairs.
    """

    bleu: float
    exact: float
    perplexity: float
    validation_perplexity: float


class Task:
    """A corpus and its vocabularies, of the sizes of a recipe.

    Args:
        corpus: to train and to evaluate on.
        recipe: for sizes and lengths.
        seed: of the order of the pairs.

    Raises:
        ValueError: no pair of a split is as short as the recipe wants.
    """

    def __init__(self, corpus: Corpus, recipe: Recipe, seed: int) -> None:
        splits = (corpus.train, corpus.validation, corpus.test)
        self.train, self.validation, self.test = (each.short(recipe.length) for each in splits)
        if not all(each.source for each in (self.train, self.validation, self.test)):
            raise ValueError(
                f"No pair of a split of {corpus.title} has {recipe.length} tokens or fewer; "
                "expected some in each. Write --length=30."
            )
        self.title, self.recipe = corpus.title, recipe
        self.source = Vocabulary(self.train.source, recipe.vocabulary)
        self.target = Vocabulary(self.train.target, recipe.vocabulary)
        self._ids, self._seed = self.encoded(self.train), seed

    @property
    def data(self) -> tf.data.Dataset:
        """The batches of training pairs, in the same orders each time."""
        return bilingual.batches(*self._ids, self.recipe.batch_size, self._seed)

    def model(self) -> keras.Model:
        """Returns a new translator."""
        sizes = len(self.source), len(self.target), self.recipe.width, self.recipe.layers
        return seq2seq.build(*sizes, self.recipe.dropout)

    def encoded(self, pairs: Pairs) -> tuple[Array, Array]:
        """Returns the ids of pairs, source and target."""
        return self.source.encode(pairs.source), self.target.encode(pairs.target)


class Judge:
    """Measures the quality of a translator.

    It is compiled once, and can be called again after the weights have changed.

    Args:
        task: whose pairs to translate.
        model: of the task.

    Example:
        >>> judge = Judge(task, model)
        >>> judge().bleu
        22.8
    """

    def __init__(self, task: Task, model: keras.Model) -> None:
        self._task = task
        start, end = task.target.start, task.target.end
        self._translate = seq2seq.greedy(model, start, end, task.recipe.length + 1)
        self._validation, self._test = (
            bilingual.batches(*task.encoded(each), JUDGED_AT_ONCE)
            for each in (task.validation, task.test)
        )

        @tf.function(input_signature=self._test.element_spec)
        def summed(inputs: Any, words: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
            logits = model(list(inputs), training=False)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(words, logits)
            return tf.stack([tf.reduce_sum(each * weights), tf.reduce_sum(weights)])

        self._summed = summed

    def __call__(self) -> Quality:
        """Translates the test pairs and measures the perplexities."""
        texts = self.translations(self._task.test.source)
        bleu, _ = score(texts, self._task.test.target)
        exact = np.mean([a == b for a, b in zip(texts, self._references(), strict=True)])
        test, validation = (self._perplexity(each) for each in (self._test, self._validation))
        return Quality(bleu, float(exact), test, validation)

    def translations(self, texts: Sequence[str]) -> list[str]:
        """Returns the greedy translations of texts."""
        ids = self._task.source.encode(texts)
        parts = range(0, len(ids), JUDGED_AT_ONCE)
        found = [self._translate(ids[at : at + JUDGED_AT_ONCE]) for at in parts]
        return [text for part in found for text in self._task.target.decode(part)]

    def _references(self) -> list[str]:
        """The test pairs' targets as a translator would write them, free dashes and all."""
        return [bilingual.detokenise(bilingual.tokenise(each)) for each in self._task.test.target]

    def _perplexity(self, data: tf.data.Dataset) -> float:
        loss, words = np.sum([self._summed(*batch) for batch in data], axis=0, dtype=np.float64)
        return math.exp(
            min(loss / words, 700.0)
        )  # the perplexity of a collapsed model can overflow


def score(texts: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """Returns the corpus BLEU of translations, in lower case, and its signature."""
    metric = sacrebleu.metrics.BLEU(lowercase=True)
    bleu = metric.corpus_score(list(texts), [list(references)]).score
    return float(bleu), str(metric.get_signature())


def compiled(model: keras.Model, learning_rate: Any) -> keras.Model:
    """Gives a model its loss, a mean over words, and a new optimizer."""
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    model.compile(keras.optimizers.Adam(learning_rate, global_clipnorm=1.0), loss)
    return model


def for_training(model: keras.Model, task: Task) -> keras.Model:
    """Compiles a new model: the rate falls to zero along a cosine."""
    updates = task.recipe.epochs * len(task.data)
    return compiled(
        model, keras.optimizers.schedules.CosineDecay(task.recipe.learning_rate, updates)
    )


def for_retraining(model: keras.Model, task: Task) -> keras.Model:
    """Compiles a trained model: a smaller rate, halved after each epoch."""
    retraining = kprune.training.Recipe(
        max(1, task.recipe.retrain_epochs), task.recipe.retrain_rate, halve_every=1
    )
    return compiled(model, retraining.schedule(len(task.data)))
