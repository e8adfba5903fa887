"""Compares a compressed file, before it appears, with the model that it was made from."""

import copy
import functools
import types
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kprune._keras import saving
from kprune.export._compressed import archive, serialization
from kprune.export._verification import ExportError

# Packages whose classes Keras finds by itself, or that hold nothing of the user's.
LIBRARIES = ("keras", "tensorflow", "numpy", "builtins", "h5py", "absl", "tf_keras")
MAX_OBJECTS = 200_000  # that are searched for classes of the user's
UNKNOWN = "Could not locate"  # as Keras's message on a class that it does not find begins


def verify(model: keras.Model, contents: archive.Contents, content: bytes) -> None:
    """Decodes a file and compares it with the model, bit for bit.

    The decoded tensors are compared with the model's own variables and, where a layer stores
    something else, with what Keras saved of it; then the model is made again from the decoded
    config and weights, and each of its weights is compared with the model's.

    Args:
        model: the plain model.
        contents: what Keras saved of it.
        content: the file, read again.

    Raises:
        ExportError: a tensor or the config comes back changed, or the model cannot be made again.
    """
    try:
        decoded = serialization.deserialize(content, limit_bytes=1 << 62)
    except ValueError as error:
        raise ExportError(
            f"the compressed file of {model.name} was not written: it cannot be decoded ({error})"
        ) from error
    if len(decoded.tensors) != len(contents.tensors):
        raise _difference(model, f"{len(decoded.tensors)} of {len(contents.tensors)} tensors")
    for saved, found in zip(contents.tensors, decoded.tensors, strict=True):
        same = (found.name, found.dtype, found.array.dtype, found.array.shape) == (
            saved.name,
            saved.dtype,
            saved.array.dtype,
            saved.array.shape,
        )
        location = contents.sources.get(saved.name)
        if location is not None:
            same = same and archive.equals(location.variable, found.array)
        if not same or found.array.tobytes() != saved.array.tobytes():
            raise _difference(model, contents.path(saved))
    if decoded.config != contents.config or decoded.assets != contents.assets:
        raise _difference(model, "the config or an asset")
    _load_again(model, decoded)


def _load_again(model: keras.Model, decoded: archive.Contents) -> None:
    """Makes the model from decoded contents, and compares its weights with the model's."""
    custom_objects = find_custom_objects(model)
    try:
        with saving.preserve_global_state(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are the user's to see when the file is loaded
            loaded = archive.repack(decoded, custom_objects, compile=False, safe_mode=False)
            # The optimizer, losses and metrics alone: no variables of the optimizer are made.
            compiled = copy.deepcopy(decoded.config.get(archive.COMPILE))
            keras.saving.deserialize_keras_object(compiled, custom_objects, safe_mode=False)
    except Exception as error:
        if UNKNOWN in str(error):  # load_compressed will be given what is not found here
            return
        message = " ".join(str(error).split())
        raise ExportError(
            f"the compressed file of {model.name} was not written: Keras cannot make the model "
            f"again from its own config ({message}). Expected layers, losses and metrics whose "
            "get_config returns what their constructors take. Write "
            "keras.models.load_model(path) after model.save(path) to see Keras's full error."
        ) from error
    if len(loaded.weights) != len(model.weights):
        raise _difference(model, f"{len(loaded.weights)} of {len(model.weights)} weights")
    for variable, again in zip(model.weights, loaded.weights, strict=True):
        if not archive.equals(variable, np.asarray(again)):
            raise _difference(model, variable.path)


def _difference(model: keras.Model, name: str) -> ExportError:
    return ExportError(
        f"the compressed file of {model.name} was not written: {name} comes back changed when the "
        "file is decoded; expected the same bits. Write model.save(path) to keep the model, and "
        "report this as a defect of kprune."
    )


def find_custom_objects(model: keras.Model) -> Mapping[str, Any]:
    """Returns the classes and functions of the user's that a model holds, by their names.

    Layers, losses, metrics, optimizers, activations and so on are found wherever they are kept, in
    attributes, lists and dicts.
    """
    found: dict[str, Any] = {}
    queue: list[Any] = [model]
    seen: set[int] = set()
    for thing in queue:  # grows as it is walked
        if id(thing) in seen or len(seen) > MAX_OBJECTS or _package(type(thing)) == "tensorflow":
            continue
        seen.add(id(thing))
        if isinstance(thing, Mapping):
            queue.extend(thing.values())
        elif isinstance(thing, (list, tuple, set)):
            queue.extend(thing)
        elif isinstance(thing, functools.partial):
            queue.append(thing.func)
        elif isinstance(thing, types.MethodType):
            queue.append(thing.__self__)
        elif isinstance(thing, types.FunctionType):
            if _is_custom(thing):
                found.setdefault(thing.__name__, thing)
            queue.extend(cell.cell_contents for cell in thing.__closure__ or () if _is_set(cell))
        elif not isinstance(thing, (type, types.ModuleType, np.ndarray, keras.Variable)):
            if _is_custom(type(thing)):
                found.setdefault(type(thing).__name__, type(thing))
            queue.extend(getattr(thing, "__dict__", {}).values())
    return found


def _is_custom(thing: Any) -> bool:
    return _package(thing) not in LIBRARIES


def _package(thing: Any) -> str:
    return str(getattr(thing, "__module__", None) or "builtins").split(".")[0]


def _is_set(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
