"""Wrong calls of the public API, a table for each topic, and what they are tried on."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import kprune

layers = keras.layers
OF_FIT = {"history", "_eval_epoch_iterator"}  # what Keras's own fit sets before it fails


@dataclasses.dataclass(frozen=True)
class Wrong:
    """A wrong call.

    Args:
        call: makes the call; its argument is a `World`.
        error: the documented exception.
        words: what the message holds: what came, and the line to write.
    """

    call: Callable[[Any], Any]
    error: type[Exception]
    words: tuple[str, ...]


class World:
    """Models, data and a folder that wrong calls must leave as they are."""

    def __init__(self, folder: pathlib.Path) -> None:
        keras.utils.set_random_seed(0)
        generator = np.random.default_rng(0)
        self.x = generator.standard_normal((32, 12)).astype("float32")
        self.y = self.x[:, :4].argmax(1).astype("int32")
        self.folder = folder
        self.model, self.wrapped, self.dense = _mlp("plain"), _mlp("wrapped"), _mlp("dense")
        kprune.wrap(self.wrapped)
        self.wrapped.fit(self.x, self.y, batch_size=16, verbose=0)
        kprune.prune(self.wrapped, 0.5)
        kprune.wrap(self.dense)
        self.uncompiled = keras.Sequential([keras.Input((12,)), layers.Dense(4)], name="uncompiled")
        self.quantized = kprune.wrap(_mlp("quantized"))
        self.quantized.layers[0].quantize("int8")
        self.unbuilt = keras.Sequential([layers.Dense(4)], name="unbuilt")
        self.layer = layers.Dense(3, name="layer")
        self.file = folder / "model.kprune"
        kprune.export.save_compressed(self.model, self.file)
        (folder / "notes.txt").write_text("not a model")
        (folder / "folder").mkdir()
        self.state = self.fingerprint()

    @property
    def models(self) -> list[keras.Model]:
        """The built models."""
        return [self.model, self.wrapped, self.dense, self.uncompiled]

    def fit(self, *callbacks: Any) -> None:
        """Fits the wrapped model with callbacks."""
        self.wrapped.fit(self.x, self.y, batch_size=16, verbose=0, callbacks=list(callbacks))

    def fingerprint(self) -> dict[str, Any]:
        """Everything that a wrong call must not change."""
        found: dict[str, Any] = {"unbuilt": (self.unbuilt.built, self.unbuilt.weights)}
        found["layer"] = (self.layer.built, sorted(vars(self.layer)))
        for model in self.models:
            optimizer = getattr(model, "optimizer", None)
            found[model.name] = {
                "config": json.dumps(model.get_config(), default=str),
                "weights": [_digest(each) for each in model.weights],
                "constraints": [each.constraint for each in model.weights],
                "regularizers": [each.regularizer for each in model.weights],
                "masks": [_digest(each.mask) for each in kprune.masked_weights(model)],
                "calls": ["call" in vars(each) for each in model._flatten_layers()],
                "attributes": sorted(set(vars(model)) - OF_FIT),
                "compiled": (model.compiled, id(optimizer), getattr(model, "loss", None)),
                "optimizer": [_digest(each) for each in getattr(optimizer, "variables", [])],
                "apply": optimizer and "apply" in vars(optimizer),
            }
        found["files"] = {
            str(path): path.read_bytes() if path.is_file() else None
            for path in sorted(self.folder.rglob("*"))
        }
        found["folder"] = os.getcwd()
        return found


def _mlp(name: str) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(8, "relu", name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.5, name="dropout"),
            layers.Dense(4, "softmax", name="logits"),
        ],
        name=name,
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    return model


def _digest(variable: Any) -> str:
    return hashlib.sha1(np.asarray(variable).tobytes()).hexdigest()


def wrong(call: Callable[[Any], Any], error: type[Exception], *words: str) -> Wrong:
    """Returns a row of a table."""
    return Wrong(call, error, words)
