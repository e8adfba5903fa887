"""A `.keras` file taken apart and put together again: config, assets and tensors."""

import copy
import dataclasses
import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from kprune._keras import private
from kprune._support.typing import Array
from kprune.export import _coding

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"  # of Keras
OPTIMIZER = "optimizer/"  # its state stays out
DTYPE = "dtype"  # the attribute by which Keras tells bfloat16 from the bits it stores
COMPILE = "compile_config"

Objects = Mapping[str, Any] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor as Keras stores it.

    Args:
        name: such as "layers/dense/vars/0".
        meaning: the type that Keras takes its bits for; "" where that is the array's own.
        array: the values.
    """

    name: str
    meaning: str
    array: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Contents:
    """What a `.keras` file holds.

    Args:
        config: of the model, and how it was compiled.
        assets: what layers keep beside weights, by path.
        tensors: the weights, without the optimizer's.
    """

    config: dict[str, Any]
    assets: dict[str, bytes]
    tensors: list[Tensor]


def take_apart(model: keras.Model) -> Contents:
    """Returns what Keras would save of a model, without its optimizer's state."""
    with tempfile.TemporaryDirectory() as room:
        path = Path(room, "model.keras")
        model.save(path)
        with zipfile.ZipFile(path) as archive:
            assets = {
                each: archive.read(each)
                for each in archive.namelist()
                if each not in (CONFIG, METADATA, WEIGHTS) and not each.endswith("/")
            }
            tensors = _tensors(archive.read(WEIGHTS))
            return Contents(json.loads(archive.read(CONFIG)), assets, tensors)


def put_together(contents: Contents, custom_objects: Objects, safe_mode: bool) -> Any:
    """Returns the model that Keras makes of the contents, not compiled."""
    with tempfile.TemporaryDirectory() as room:
        path = Path(room, "model.keras")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(CONFIG, json.dumps({**contents.config, COMPILE: None}))
            archive.writestr(METADATA, "{}")
            archive.writestr(WEIGHTS, _h5(contents.tensors))
            for name, content in contents.assets.items():
                archive.writestr(name, content)
        with warnings.catch_warnings():  # of models that compile themselves
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.models.load_model(path, custom_objects, False, safe_mode)


def declared_bytes(config: dict[str, Any], custom_objects: Objects, safe_mode: bool) -> int:
    """What the variables of a model would take; they are told to Keras, and not made."""
    plain = copy.deepcopy({**config, COMPILE: None})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # An error ends the count: making the model itself says better what is wrong.
        return private.declared_bytes(
            lambda: keras.saving.deserialize_keras_object(plain, custom_objects, safe_mode)
        )


def _tensors(weights: bytes) -> list[Tensor]:
    found = []

    def visit(name: str, each: Any) -> None:
        if isinstance(each, h5py.Dataset) and not name.startswith(OPTIMIZER):
            found.append(Tensor(name, str(each.attrs.get(DTYPE, "")), np.asarray(each[()])))

    with h5py.File(io.BytesIO(weights), "r") as store:
        store.visititems(visit)
    return found


def _h5(tensors: list[Tensor]) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as store:
        for each in tensors:
            try:
                stored = store.create_dataset(each.name, data=each.array)
            except (ValueError, TypeError) as error:
                raise _coding.damaged(f"a tensor has the name {each.name!r} ({error})") from error
            if each.meaning:
                stored.attrs[DTYPE] = each.meaning
    return content.getvalue()
