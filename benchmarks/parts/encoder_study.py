"""Fine-tunes a sentence encoder once a seed, and prunes it by one method after another."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kprune
from data import sentences
from kprune._masking import masked_weights, slot_variables
from kprune.training import proximal
from networks import encoder
from training import encoder_pruning

ACCUMULATED = ("movement", "saliency")  # criteria whose scores are kept beside the weights


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the encoder is fine-tuned, retrained and evaluated; each field is a flag.

    Args:
        load: folder of the preset.
        cache: folder for the fine-tuned models.
        sentences: training phrases, drawn at random.
        words: the fewest and the most words of a training phrase.
        epochs: of fine-tuning.
        retrain_epochs: of pruning and retraining.
        batch_size: phrases in an update of fine-tuning.
        retrain_batch_size: phrases in an update of retraining.
        learning_rate: of fine-tuning, at the start.
        retrain_learning_rate: of retraining, at the start.
        strength: of reweighted proximal pruning; `None` computes one.
        split: "dev" or "test", to evaluate on.
        judged: sentences of the split, drawn at random; `None` takes all.
    """

    load: str
    cache: str
    sentences: int
    words: Sequence[str]
    epochs: int
    retrain_epochs: int
    batch_size: int
    retrain_batch_size: int
    learning_rate: float
    retrain_learning_rate: float
    strength: float | None
    split: str
    judged: int | None


class Study:
    """Prunes one classifier again and again, each time from its fine-tuned weights.

    It is wrapped and traced once, not once a row.

    Args:
        splits: of SST-2.
        settings: of the training, the retraining and the evaluation.

    Example:
        >>> Study(sentences.load("sst2"), settings).measure("nip", 0.9, seed=0)["after"]
        85.2
    """

    def __init__(self, splits: sentences.Splits, settings: Settings) -> None:
        self.splits, self.settings = splits, settings
        self.model = encoder.load(settings.load)
        self.preprocessor = self.model.preprocessor
        judged = getattr(splits, settings.split)
        if settings.judged:
            judged = sentences.select(judged, settings.judged, 0, (1, 99))
        self.judged = encoder.batches(self.preprocessor, judged, settings.batch_size)
        self.data = self._phrases(settings.batch_size, 0)
        kprune.wrap(self.model, include=encoder.PRUNED)
        encoder.compile(self.model, settings.learning_rate, settings.epochs, self.data)
        self.model.optimizer.build(self.model.trainable_variables)
        self._new = self._values()
        self._seed: int | None = None
        self._accuracy = math.nan

    def start(self, seed: int) -> float:
        """Fine-tunes the model for a seed, or reads its weights from a file.

        Returns:
            Its accuracy, in percent.
        """
        chosen = self.settings
        key = (chosen.sentences, *chosen.words, chosen.epochs, chosen.batch_size)
        key += (chosen.learning_rate,)
        path = pathlib.Path(chosen.cache) / f"{'-'.join(map(str, key))}-seed{seed}.npz"
        if not path.exists():
            self.data = self._phrases(chosen.batch_size, seed)
            self._reset(self._new, chosen.learning_rate, chosen.epochs)
            kernel = self.model.output_dense.kernel
            kernel.assign(np.random.default_rng(seed).normal(0, 0.02, kernel.shape))
            self.model.fit(self.data, epochs=chosen.epochs, verbose=2, shuffle=False)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, *self._values())
        self.data = self._phrases(chosen.retrain_batch_size, seed)
        with np.load(path) as file:
            self._dense = [file[name] for name in file.files]
        self._reset(self._dense, chosen.retrain_learning_rate, chosen.retrain_epochs)
        return 100 * encoder.accuracy(self.model, self.judged)

    def measure(self, method: str, sparsity: float, seed: int) -> dict[str, Any]:
        """Prunes and retrains; returns the zeros, the seconds and the accuracies in percent.

        Args:
            method: a name in `encoder_pruning.METHODS`.
            sparsity: fraction of zeros in the encoder.
            seed: of the phrases, their order, dropout and the classifier.
        """
        if seed != self._seed:
            self._accuracy, self._seed = self.start(seed), seed
        chosen, begin = self.settings, time.perf_counter()
        self._reset(self._dense, chosen.retrain_learning_rate, chosen.retrain_epochs)
        steps = chosen.retrain_epochs * int(self.data.cardinality())
        callbacks = encoder_pruning.callbacks(
            method, self.model, sparsity, steps, chosen.strength if method == "rpp" else None
        )
        watch = Watch()
        self.model.fit(
            self.data,
            epochs=chosen.retrain_epochs,
            verbose=0,
            shuffle=False,  # the batches are shuffled already
            callbacks=[*callbacks, watch],
        )
        return {
            "dense": self._accuracy,
            "zeros": kprune.report(self.model).sparsity,
            "updates": steps,
            "loss": watch.loss,
            "after": 100 * encoder.accuracy(self.model, self.judged),
            "seconds": time.perf_counter() - begin,
        }

    def _phrases(self, batch_size: int, seed: int) -> tf.data.Dataset:
        low, high = map(int, self.settings.words)
        phrases = sentences.select(self.splits.train, self.settings.sentences, seed, (low, high))
        return encoder.batches(self.preprocessor, phrases, batch_size, seed)

    def _values(self) -> list[np.ndarray[Any, Any]]:
        """Returns the weights and the states of dropout; those of the optimizer start at zero."""
        return [np.asarray(each) for each in self._variables()]

    def _variables(self) -> list[keras.Variable]:
        of_metrics = {id(each) for each in self.model.metrics_variables}
        return [each for each in self.model.variables if id(each) not in of_metrics]

    def _reset(self, values: Sequence[Any], rate: float, epochs: int) -> None:
        """Resets values, masks, optimizer and learning rate to those at the start of a training."""
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
        for weight in masked_weights.require(self.model):
            weight.mask.assign(tf.ones_like(weight.mask.value))
        for name in ACCUMULATED:  # scores of an earlier row
            slot_variables.clear(self.model, name)
        proximal.discard(self.model)
        for variable in self.model.optimizer.variables:
            variable.assign(tf.zeros_like(variable.value))
        steps = epochs * int(self.data.cardinality())
        if steps != self.model.optimizer._learning_rate.decay_steps or (
            rate != self.model.optimizer._learning_rate.initial_learning_rate
        ):
            self.model.optimizer._learning_rate = keras.optimizers.schedules.PolynomialDecay(
                rate, steps, 0.0
            )
            self.model.train_function = None  # the schedule is a part of the trace


class Watch(keras.callbacks.Callback):
    """Records the loss of the last epoch."""

    loss = float("nan")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Records the loss."""
        self.loss = float((logs or {})["loss"])
