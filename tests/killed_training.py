"""A training with everything that has a state, for tests that kill it."""

from __future__ import annotations

import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import keras
import numpy as np

import kprune

EPOCHS, BATCHES = 5, 5
PAUSE = 0.02  # seconds after each batch, so that a kill meets the training and not the imports


def train(
    directory: str | Path,
    result: str | Path,
    seed: int = 0,
    pause: float = 0.0,
    count: Synchronized[int] | None = None,
) -> None:
    """Trains a model with dropout, movement, shuffled arrays and three other callbacks.

    Args:
        directory: of the backup.
        result: where the weights, masks and history are written.
        seed: before the model is built.
        pause: seconds after each batch.
        count: of the batches that this process trained, for the one that kills it.
    """

    def on_train_batch_end(batch: int, logs: object) -> None:
        if count is not None:
            count.value += 1
        time.sleep(pause)

    keras.utils.set_random_seed(seed)
    generator = np.random.default_rng(7)
    x = generator.standard_normal((96, 12)).astype("float32")
    y = x[:, :4].argmax(axis=1).astype("int32")
    model = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.GaussianNoise(0.1),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    kprune.wrap(model)
    schedule = kprune.schedules.PolynomialDecay(0.0, 0.8, begin_step=0.1, frequency=0.1)
    rewinding = kprune.callbacks.Rewinding(step=4)
    history = model.fit(
        x,
        y,
        batch_size=16,
        epochs=EPOCHS,
        validation_split=0.25,
        verbose=0,
        callbacks=[
            kprune.callbacks.Backup(directory),
            kprune.callbacks.Pruning(schedule, "movement"),
            kprune.callbacks.DropoutRatioAdjustment(),
            rewinding,
            keras.callbacks.ReduceLROnPlateau("val_loss", 0.5, patience=1, min_delta=0.05),
            keras.callbacks.LambdaCallback(on_train_batch_end=on_train_batch_end),
        ],
    ).history
    arrays = [np.asarray(each) for each in (*model.weights, *model.optimizer.variables)]
    arrays += [weight.alive() for weight in kprune.masked_weights(model)]
    arrays += [np.asarray(values, float) for _, values in sorted(history.items())]
    arrays += [rewinding.snapshot.values[0], np.random.random(3)]
    temporary = Path(result).with_suffix(".part.npz")
    np.savez(temporary, *arrays)
    temporary.rename(result)
