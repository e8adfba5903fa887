"""Says how Keras saves the variables of layers, and loads models without side effects."""

import contextlib
import functools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kprune._keras import borrowing


@contextlib.contextmanager
def observe_saving(
    layers: Sequence[keras.layers.Layer], note: Callable[[Any, str], object]
) -> Iterator[None]:
    """Calls `note(layer, path)` for each layer that Keras saves during a block.

    Args:
        layers: layers of the model that is saved.
        note: gets the layer and the path, in the weights' file, of the group that holds its own
            variables, such as "layers/dense/vars".
    """

    def replace(layer: keras.layers.Layer) -> Callable[[Any], Any]:
        def wrap(save: Callable[[Any], None]) -> Callable[[Any], None]:
            def save_own_variables(store: Any) -> None:
                save(store)
                note(layer, f"{store._h5_entry_path}/vars".lstrip("/"))

            return save_own_variables

        return wrap

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(borrowing.patched(layer, "save_own_variables", replace(layer)))
        yield


@contextlib.contextmanager
def preserve_global_state() -> Iterator[None]:
    """Restores, after a block, the random states and the numbers in the names of new layers.

    A model that is made and thrown away in the block then changes nothing of what comes after.
    """
    from keras.src.backend.common import global_state

    counters = "object_name_uids"  # how many layers of each name there have been
    names = dict(global_state.get_global_attribute(counters) or {})
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        current = global_state.get_global_attribute(counters)
        if current is not None:
            current.clear()
            current.update(names)


def saved_paths(root: keras.layers.Layer) -> dict[int, str]:
    """Returns the `id` of each layer that Keras saves with a model or layer, and its path there.

    Keras numbers layers of one class in the order in which it finds them, so the path, such as
    `layers/dense_1`, does not depend on the names of layers, which count up in a process.
    """
    from keras.src.saving import saving_lib
    from keras.src.saving.keras_saveable import KerasSaveable

    paths: dict[int, str] = {}
    containers: set[int] = set()

    def visit(saveable: Any, path: str) -> None:
        if id(saveable) in paths:
            return
        paths[id(saveable)] = path
        for name, child in saving_lib._walk_saveable(saveable):
            if name == "kprune_state":
                continue
            visit_any(child, f"{path}/{name}".lstrip("/"))

    def visit_any(child: Any, path: str) -> None:
        if isinstance(child, KerasSaveable):
            visit(child, path)
        elif isinstance(child, (list, dict, tuple)) and id(child) not in containers:
            containers.add(id(child))
            used: dict[str, int] = {}
            for each in child.values() if isinstance(child, dict) else child:
                if isinstance(each, KerasSaveable):
                    name = saving_lib.naming.to_snake_case(type(each).__name__)
                elif isinstance(each, (list, dict, tuple)):
                    name = "container"
                else:
                    continue
                number = used[name] = used.get(name, -1) + 1
                visit_any(each, f"{path}/{name}_{number}" if number else f"{path}/{name}")

    visit(root, "")
    return paths


def extend_legacy_files(saving: Callable[[Any], None], loading: Callable[[Any], None]) -> None:
    """Calls functions with each model that is written to, or has read, a file of Keras 2's format.

    Args:
        saving: gets the model before its weights are written to an `.h5` file.
        loading: gets the model after weights were read from one.
    """
    from keras.src.legacy.saving import legacy_h5_format

    _call_beside(legacy_h5_format, "save_weights_to_hdf5_group", before=saving)
    for name in ("load_weights_from_hdf5_group", "load_weights_from_hdf5_group_by_name"):
        _call_beside(legacy_h5_format, name, after=loading)


def _call_beside(
    module: Any,
    name: str,
    before: Callable[[Any], None] = lambda model: None,
    after: Callable[[Any], None] = lambda model: None,
) -> None:
    original = getattr(module, name)
    if getattr(original, "is_extended_by_kprune", False):  # this module was imported again
        original = original.__wrapped__

    @functools.wraps(original)
    def call(group: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        before(model)
        result = original(group, model, *args, **kwargs)
        after(model)
        return result

    call.is_extended_by_kprune = True  # type: ignore[attr-defined]
    setattr(module, name, call)
