"""Loads files of Keras 2 models, with TFMOT's wrappers where it is installed."""

import contextlib
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from kprune._keras import private
from kprune.migrate._errors import MigrationError

LEGACY = "TF_USE_LEGACY_KERAS"  # TFMOT sets it in the environment when it is imported


def load(path: str | os.PathLike[str]) -> Any:
    """Loads a Keras 2 model from `.h5`, a SavedModel or `.keras`.

    Raises:
        ImportError: `tf_keras` is not installed.
        OSError: there is no such file.
        MigrationError: it is not a file of a whole Keras 2 model.
    """
    name = os.fspath(path)
    if not os.path.exists(name):
        raise FileNotFoundError(f"{name!r} does not exist; expected a file or a SavedModel.")
    _check(name)
    keras_2 = import_tf_keras()
    try:
        with _pruning_wrappers():
            model = keras_2.models.load_model(name, compile=False)
    except Exception as error:
        message = " ".join(str(error).split())[:300]
        raise MigrationError(
            f"tf_keras cannot load {name!r}: {message} Expected a whole model, saved by tf_keras "
            "with TFMOT's wrappers or without. If it has layers of your own, write "
            "kprune.migrate.from_tfmot(tf_keras.models.load_model(path, custom_objects), ...)."
        ) from error
    if not private.is_legacy(model):
        raise MigrationError(
            f"{name!r} is a SavedModel without layers; expected one that tf_keras wrote. Write "
            'model.save("pruned.h5") with tf_keras.'
        )
    return model


def import_tf_keras() -> Any:
    """Returns the package `tf_keras`."""
    try:
        import tf_keras
    except ImportError as error:
        raise ImportError(
            'Models of TFMOT need tf_keras. Write pip install "kprune[tfmot]".'
        ) from error
    return tf_keras


@contextlib.contextmanager
def _pruning_wrappers() -> Iterator[None]:
    """Lets tf_keras find TFMOT's wrappers, where TFMOT is installed."""
    before = os.environ.get(LEGACY)
    try:
        from tensorflow_model_optimization.python.core.sparsity.keras import prune
    except ImportError:
        yield  # a model without the wrappers needs none; tf_keras names what it misses
        return
    finally:
        if before is None:
            os.environ.pop(LEGACY, None)
        else:
            os.environ[LEGACY] = before
    with prune.prune_scope():
        yield


def _check(name: str) -> None:
    """Raises MigrationError for files of other kinds, before tf_keras runs code of theirs."""
    if os.path.isdir(name):
        if not Path(name, "saved_model.pb").is_file():
            raise MigrationError(
                f"{name!r} is a directory without saved_model.pb; expected a SavedModel that "
                'tf_keras wrote. Write model.save("pruned.h5").'
            )
        return
    config = _read_config(name)
    version = str(config.get("keras_version", ""))
    if version.startswith("3"):
        raise MigrationError(
            f"{name!r} is of Keras {version}; expected a file of Keras 2. Write "
            f"kprune.wrap(keras.saving.load_model({name!r}))."
        )
    if lambdas := sorted(_find_lambdas(config)):
        raise MigrationError(explain_lambda(lambdas[0]))


def _read_config(name: str) -> dict[str, Any]:
    """Returns the config of a model file, with the version of Keras beside it."""
    if zipfile.is_zipfile(name):
        with zipfile.ZipFile(name) as archive:
            if {"config.json", "metadata.json"} <= set(archive.namelist()):
                found: dict[str, Any] = json.loads(archive.read("metadata.json"))
                return {**found, "config": json.loads(archive.read("config.json"))}
    elif h5py.is_hdf5(name):
        with h5py.File(name) as file:
            if (text := file.attrs.get("model_config")) is not None:
                return {
                    "keras_version": _text(file.attrs.get("keras_version", "")),
                    "config": json.loads(_text(text)),
                }
            if len(file.keys()):
                raise MigrationError(
                    f"{name!r} holds weights alone; expected a whole model. Write "
                    "model.load_weights(path) and kprune.migrate.from_tfmot(model)."
                )
    raise MigrationError(
        f"{name!r} is no file of a Keras model; expected a .h5 or "
        '.keras file of Keras 2, or a SavedModel. Write model.save("pruned.h5") with tf_keras.'
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _find_lambdas(config: Any) -> Iterator[str]:
    """Yields the names of the Lambda layers in a config."""
    if isinstance(config, dict):
        if config.get("class_name") == "Lambda":
            yield str(config.get("config", {}).get("name", "lambda"))
        for value in config.values():
            yield from _find_lambdas(value)
    elif isinstance(config, list):
        for value in config:
            yield from _find_lambdas(value)


def explain_lambda(name: str) -> str:
    """Returns the message on a Lambda layer."""
    return (
        f"{name} is a Lambda, whose Python code may call Keras 2 or TensorFlow and cannot be read; "
        "expected layers of keras.layers. Write it as a layer class in Keras 2 and in Keras 3, "
        "and give the latter: from_tfmot(model, custom_objects={'MyLayer': MyKeras3Layer})."
    )
