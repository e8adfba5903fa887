"""Unpacks the `.keras` archive of a model into config, assets and tensors, and repacks it."""

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

from kprune._keras import private, saving, walk
from kprune._masking import locations
from kprune._support.typing import Array
from kprune.export._compressed import coding
from kprune.export._reading import config_check

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"  # of Keras
OPTIMIZER = "optimizer/"  # the optimizer's state, which is left out
DTYPE = "dtype"  # the attribute in which Keras notes bfloat16, whose bits it stores
COMPILE = "compile_config"

CustomObjects = Mapping[str, Any] | None


@dataclasses.dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor as Keras stores it.

    Args:
        name: Keras's name for it, such as "layers/dense/vars/0".
        dtype: the type that Keras takes its bits for; "" where that is the array's own.
        array: the values.
    """

    name: str
    dtype: str
    array: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Contents:
    """What a `.keras` file holds.

    Args:
        config: the config of the model, and how it was compiled.
        assets: what layers keep beside weights, by path.
        tensors: the weights, without the optimizer's.
        sources: where the model's variables live, by the names of the tensors that store them;
            empty where no model is at hand.
    """

    config: dict[str, Any]
    assets: dict[str, bytes]
    tensors: list[StoredTensor]
    sources: Mapping[str, locations.Location] = dataclasses.field(default_factory=dict)

    def path(self, tensor: StoredTensor) -> str:
        """Returns the path of the variable that a tensor stores; else Keras's name for it."""
        location = self.sources.get(tensor.name)
        return tensor.name if location is None else location.path


def unpack(model: keras.Model) -> Contents:
    """Returns what Keras would save of a model, without its optimizer's state."""
    groups: dict[str, Any] = {}  # of the weights' file, with the layer whose variables it holds

    def note(layer: Any, path: str) -> None:
        groups[path] = layer

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "model.keras")
        with saving.observe_saving(walk.layers(model), note):
            model.save(path)
        with zipfile.ZipFile(path) as archive:
            assets = {
                name: archive.read(name)
                for name in archive.namelist()
                if name not in (CONFIG, METADATA, WEIGHTS) and not name.endswith("/")
            }
            tensors = _read_h5(archive.read(WEIGHTS))
            config = json.loads(archive.read(CONFIG))
            config_check.name_optimizers(config)
    return Contents(config, assets, tensors, _find_locations(model, tensors, groups))


def repack(
    contents: Contents, custom_objects: CustomObjects, compile: bool, safe_mode: bool
) -> Any:
    """Returns the model that Keras makes of the contents, as `keras.models.load_model` does."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "model.keras")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(CONFIG, json.dumps(contents.config))
            archive.writestr(METADATA, "{}")
            archive.writestr(WEIGHTS, _write_h5(contents.tensors))
            for name, content in contents.assets.items():
                archive.writestr(name, content)
        with warnings.catch_warnings():  # the optimizer starts anew
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.models.load_model(path, custom_objects, compile, safe_mode)


def declared_bytes(config: dict[str, Any], custom_objects: CustomObjects, safe_mode: bool) -> int:
    """Returns the bytes of the model's variables, which Keras declares here without making them."""
    plain = copy.deepcopy({**config, COMPILE: None})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # An error ends the count here; `repack` meets it again and reports it better.
        return private.declared_bytes(
            lambda: keras.saving.deserialize_keras_object(plain, custom_objects, safe_mode)
        )


def _find_locations(
    model: keras.Model, tensors: list[StoredTensor], groups: Mapping[str, Any]
) -> dict[str, locations.Location]:
    """Maps the names of stored tensors to the variables whose values they are.

    Tensors whose values are those of no variable of their layer are left out.
    """
    located = list(locations.locate(model))
    found: dict[str, locations.Location] = {}
    used: set[int] = set()
    for tensor in tensors:
        group, _, key = tensor.name.rpartition("/")
        own = [each for each in located if each.layer is groups.get(group)]
        # The variable of that number first; the states of random generators belong to no layer.
        first = int(key) if key.isdigit() else 0
        for location in [*own[first:], *own[:first]] or located:
            if id(location.variable) not in used and equals(location.variable, tensor.array):
                found[tensor.name] = location
                used.add(id(location.variable))
                break
    return found


def equals(variable: keras.Variable, array: Array) -> bool:
    """Returns whether a variable holds the values of an array, bit for bit."""
    if tuple(variable.shape) != array.shape:
        return False
    return np.asarray(variable).tobytes() == np.ascontiguousarray(array).tobytes()


def _read_h5(weights: bytes) -> list[StoredTensor]:
    found = []

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and not name.startswith(OPTIMIZER):
            found.append(StoredTensor(name, str(node.attrs.get(DTYPE, "")), np.asarray(node[()])))

    with h5py.File(io.BytesIO(weights), "r") as store:
        store.visititems(visit)
    return found


def _write_h5(tensors: list[StoredTensor]) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as store:
        for tensor in tensors:
            try:
                stored = store.create_dataset(tensor.name, data=tensor.array)
            except (ValueError, TypeError) as error:
                raise coding.damaged_error(
                    f"a tensor has the name {tensor.name!r} ({error})"
                ) from error
            if tensor.dtype:
                stored.attrs[DTYPE] = tensor.dtype
    return content.getvalue()
