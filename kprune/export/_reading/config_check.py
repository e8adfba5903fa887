"""Checks the config of a model from a file before Keras makes anything of it.

Keras refuses code in configs too (`safe_mode`); what it lets through has changed from version to
version, so this is a second fence. A config may name classes of Keras that are part of models, the
functions that layers take, and whatever the user has registered or gives as `custom_objects`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from kprune._keras import optimizers

MAX_NAME = 4096  # characters
OBJECT_BYTES = 1 << 14  # that Keras takes for an object with a config, such as a layer, on average
LEAST_OBJECTS = 1000  # that are let through whatever the limit is, which is set for weights
MAX_SEQUENTIAL = 500  # layers of a Sequential, which takes 30 s to make of as many
# Numbers of steps that Keras takes in Python, or lists, when a layer is made or called.
LOOPS = {"ngrams": 64, "num_oov_indices": 1 << 20, "num_ops": 256, "power_iterations": 1024}
PACKAGES = ("keras", "keras_hub", "keras_nlp", "keras_cv", "kprune")
# Packages of Keras, with or without `src` between, whose classes are parts of models.
PARTS = (
    "activations",
    "constraints",
    "dtype_policies",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "ops",
    "optimizers",
    "quantizers",
    "random",
    "regularizers",
)
NO_FUNCTIONS = ("layers", "models", "optimizers")  # whose functions make or load objects
FACTORIES = ("deserialize", "get", "serialize")
# Classes that load what lies outside of the file, or unpickle it.
OUTSIDE = ("TFSMLayer", "TorchModuleWrapper")
LAMBDA = "__lambda__"
# Values that Keras writes as if they were of classes.
PLAIN = ("__bytes__", "__ellipsis__", "__keras_tensor__", "__none__", "__slice__")
ARRAYS = ("__numpy__", "__tensor__")
DTYPE = re.compile(r"bool|string|(u?int|b?float|complex)\d+(_\w+)?")  # none has a size of its own
PATHS = ("vocabulary", "idf_weights")  # that Keras reads from a file where they are a path


def name_optimizers(config: Any) -> None:
    """Gives optimizers that one backend has of its own the names that every backend has.

    Args:
        config: parsed JSON; changed in place.
    """
    for entry in find_objects(config):
        if optimizers.is_of_one_backend(str(entry.get("module")), str(entry["class_name"])):
            entry.update(module="keras.optimizers", registered_name=None)


def check_config(
    config: Any, custom_objects: Mapping[str, Any] | None = None, safe_mode: bool = True
) -> None:
    """Raises ValueError if a config names something that no model is made of.

    Args:
        config: parsed JSON.
        custom_objects: the user's own classes and functions by name.
        safe_mode: False for a file whose source is trusted: only the form is checked.

    Raises:
        ValueError: a name is not a name, or names code that a model of others may not run.

    Example:
        >>> check_config({"module": "keras.layers", "class_name": "Dense", "config": {}})
    """
    for entry in find_objects(config):
        names = [entry.get(key) for key in ("class_name", "module", "registered_name")]
        if any(not (name is None or isinstance(name, str)) for name in names):
            raise ValueError(f"the config has a class whose name is {names!r:.100}")
        if any(len(name or "") > MAX_NAME for name in names):
            raise ValueError(f"the config has a name of more than {MAX_NAME} characters")
        if safe_mode and not _is_registered(entry, custom_objects):
            _check_origin(entry)


def check_size(config: Any, limit_bytes: int, safe_mode: bool = True) -> None:
    """Raises ValueError if Keras would take too much memory or time to make the objects.

    Args:
        config: parsed JSON.
        limit_bytes: the most that the objects may take, without weights; a thousand are let through
            in any case.
        safe_mode: False for a file whose source is trusted: only the memory is limited.
    """
    count = squares = 0
    for entry in find_objects(config):
        count += 1
        inner = entry.get("config")
        if isinstance(inner, dict):
            for key, most in LOOPS.items():
                value = inner.get(key)
                if safe_mode and isinstance(value, (int, float)) and value > most:
                    raise _refusal(f"{key}={value!r:.100}, over which Keras loops")
            if entry["class_name"] == "Sequential" and isinstance(inner.get("layers"), list):
                squares += len(inner["layers"]) ** 2
    if OBJECT_BYTES * max(count - LEAST_OBJECTS, 0) > limit_bytes:
        raise ValueError(
            f"the model's {count:,} layers and other objects would take {OBJECT_BYTES * count:,} "
            f"bytes; expected {limit_bytes:,} at most. "
            f"Write limit_bytes={OBJECT_BYTES * count} where the file's source is to be trusted."
        )
    if safe_mode and squares > MAX_SEQUENTIAL**2:
        raise _refusal(
            f"more than {MAX_SEQUENTIAL} layers in Sequential models, each of which Keras traces "
            "again with every layer"
        )


def find_objects(config: Any) -> Iterator[dict[str, Any]]:
    """Yields the parts of a config that name a class or a function."""
    queue = [config]
    while queue:
        entry = queue.pop()
        if isinstance(entry, dict):
            if "class_name" in entry:
                yield entry
            queue.extend(entry.values())
        elif isinstance(entry, list):
            queue.extend(entry)


def _is_registered(entry: dict[str, Any], custom_objects: Mapping[str, Any] | None) -> bool:
    """Whether the user has registered the class or function, or gives it."""
    is_function = entry["class_name"] == "function"
    keys = ("config",) if is_function else ("class_name", "registered_name")
    return any(
        isinstance(entry.get(key), str)
        and keras.saving.get_registered_object(entry[key], custom_objects) is not None
        for key in keys
    )


def _check_origin(entry: dict[str, Any]) -> None:
    """Raises ValueError for a class or function that is not a part of Keras's models."""
    kind, module, config = entry["class_name"], entry.get("module"), entry.get("config")
    is_function = kind == "function"
    name = str(config if is_function else entry.get("spec_name", kind))
    if kind == LAMBDA or kind in OUTSIDE:
        raise _refusal(f"{kind}, which runs code of the file or loads other files")
    if isinstance(config, dict):
        for key in PATHS:
            if isinstance(config.get(key), str):
                raise _refusal(f"the path {config[key]!r:.100} of a file to read as {key}")
        if kind in ARRAYS and not DTYPE.fullmatch(str(config.get("dtype"))):
            raise _refusal(f"an array of {config.get('dtype')!r:.100}")
    if is_function and name in FACTORIES:
        raise _refusal(f"the function {name}, which makes objects")
    if kind in PLAIN or kind in ARRAYS:
        return
    if module is None or (module == "builtins" and is_function):
        return  # Keras looks it up among its own and what is registered, by the name alone
    package, *parts = module.split(".")
    if parts[:1] == ["src"]:  # where the code is that Keras and KerasHub publish
        parts = parts[1:]
    is_known = package in PACKAGES and name.isidentifier()
    if package == "keras" and parts:
        is_known = is_known and parts[0] in PARTS
        if is_function:
            is_known = is_known and parts[0] not in NO_FUNCTIONS
    elif package == "keras":
        is_known = (
            is_known and not is_function and name[0].isupper()
        )  # of classes: keras.Model, keras.DTypePolicy
    if not is_known:
        raise _refusal(f"{module}.{name}, which is no part of a Keras model")


def _refusal(what: str) -> ValueError:
    return ValueError(
        f"the config names {what}; expected classes and functions of Keras, or those that you have "
        "registered. Write custom_objects={...} with your own, or safe_mode=False where the file's "
        "source is to be trusted."
    )
