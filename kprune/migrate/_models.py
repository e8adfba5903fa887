"""Builds Keras 3 models with the structure and the weights of Keras 2 models."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np

from kprune.migrate import _layers, _masks, _operations
from kprune.migrate._errors import MigrationError

MOST_DIGITS = 5  # of the number in a name: Keras does not come to larger ones by itself
RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional)


@dataclasses.dataclass
class Conversion:
    """Converts a model with the models in it, each shared layer once.

    Args:
        classes: the Keras 3 classes of layers that Keras does not have, by their names.
        layers: for each Keras 2 layer by its `id`, that layer and the new one.
        pruned: the weights that TFMOT prunes.
    """

    classes: _layers.Classes
    layers: dict[int, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    pruned: list[_masks.PrunedVariable] = dataclasses.field(default_factory=list)
    wrappers: list[tuple[Any, Any]] = dataclasses.field(default_factory=list)

    def convert_model(self, model: Any) -> keras.Model:
        """Returns a Keras 3 model of the same structure.

        Raises:
            MigrationError: the model is not built, or a part of it has no counterpart.
        """
        kinds = {base.__name__ for base in type(model).__mro__}
        if not getattr(model, "inputs", None):
            raise MigrationError(_explain_model(model))
        if "Sequential" in kinds:
            return self._convert_sequential(model)
        if "Functional" in kinds:
            return self._convert_functional(model)
        raise MigrationError(_explain_model(model))

    def copy_weights(self) -> None:
        """Copies the weights of every layer, and notes which of them TFMOT prunes.

        Raises:
            MigrationError: the layers have other weights.
        """
        variables: dict[int, keras.Variable] = {}
        for old, new in self.layers.values():
            if not hasattr(old, "layers") and type(old).__name__ != "Normalization":
                variables |= _copy(old, new)
        for wrapper, _ in self.wrappers:
            self.pruned += _masks.read(wrapper, variables)
        if not self.wrappers:
            self.pruned += _masks.read_zeros(variables.values())

    def convert_layer(self, layer: Any) -> Any:
        """Returns the Keras 3 layer, model or function of `keras.ops` for a Keras 2 layer."""
        if id(layer) in self.layers:
            return self.layers[id(layer)][1]
        if _masks.is_wrapper(layer):
            new = self.convert_layer(layer.layer)
            self.wrappers.append((layer, new))
            return new
        if type(layer).__name__ in _operations.CLASSES:
            return _operations.find(layer)
        if hasattr(layer, "layers") and type(layer).__name__ not in _layers.WRAPPERS:
            new = self.convert_model(layer)
        else:
            new = _layers.make_layer(layer, self.classes)
        self.layers[id(layer)] = (layer, new)
        return new

    def _convert_sequential(self, model: Any) -> keras.Model:
        layers = [self.convert_layer(layer) for layer in model.layers]
        return keras.Sequential(
            [_make_input(model.inputs[0]), *layers], name=_layers.rename(model.name)
        )

    def _convert_functional(self, model: Any) -> keras.Model:
        """Calls the new layers on each other as the old ones were called, node by node."""
        _reserve_names(layer.name for layer in model.layers)
        tensors = {id(tensor): _make_input(tensor) for tensor in model.inputs}
        nodes = [node for layer in model.layers for node in layer.inbound_nodes]
        waiting = [node for node in nodes if not set(map(id, _outputs(node))) <= set(tensors)]
        while any(id(tensor) not in tensors for tensor in model.outputs):
            ready = [node for node in waiting if all(id(each) in tensors for each in _inputs(node))]
            if not ready:
                raise MigrationError(
                    f"the outputs of {model.name} cannot be reached from its inputs; expected a "
                    "Functional model. Write tf_keras.models.clone_model(model) and convert that."
                )
            for node in ready:
                outputs = self._call(node, tensors)
                flat = keras.tree.flatten(outputs)
                tensors |= {id(a): b for a, b in zip(_outputs(node), flat, strict=True)}
            done = set(map(id, ready))
            waiting = [node for node in waiting if id(node) not in done]

        def find(tensor: Any) -> Any:
            return tensors[id(tensor)]

        return keras.Model(
            keras.tree.map_structure(find, make_plain(model.input)),
            keras.tree.map_structure(find, make_plain(model.output)),
            name=_layers.rename(model.name),
        )

    def _call(self, node: Any, tensors: dict[int, Any]) -> Any:
        def find(value: Any) -> Any:
            return tensors.get(id(value), value)

        layer: Callable[..., Any] = self.convert_layer(node.layer)
        arguments = keras.tree.map_structure(find, make_plain(node.call_args))
        keywords = {
            key: keras.tree.map_structure(find, make_plain(value))
            for key, value in node.call_kwargs.items()
            if value is not None and key != "name"
        }
        if isinstance(layer, RECURRENT) and isinstance(arguments[0], (list, tuple)):
            # Keras 2 takes initial states for further inputs.
            sequence, *states = arguments[0]
            arguments, keywords = (sequence, *arguments[1:]), keywords | {"initial_state": states}
        return layer(*arguments, **keywords)


def make_plain(structure: Any) -> Any:
    """Returns a structure with Python's lists, tuples and dicts in place of TensorFlow's.

    Keras 2 keeps arguments in lists of TensorFlow's own, into which Keras 3 does not look on JAX
    and torch.
    """
    if isinstance(structure, dict):
        return {key: make_plain(value) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        kind = list if isinstance(structure, list) else tuple
        return kind(make_plain(value) for value in structure)
    return structure


def _reserve_names(names: Iterable[str]) -> None:
    """Keeps Keras 3 from naming operations as layers are named, `multiply_1` or so."""
    for name in names:
        stem, _, number = name.rpartition("_")
        if not number.isdigit():
            stem, number = name, "0"
        if len(number) <= MOST_DIGITS:
            while keras.backend.get_uid(stem) <= int(number):  # the next name has this number
                pass


def _inputs(node: Any) -> Iterator[Any]:
    """Yields the symbolic tensors that a node is called on."""
    for value in keras.tree.flatten(make_plain((node.call_args, node.call_kwargs))):
        if type(value).__name__.endswith("KerasTensor"):
            yield value


def _outputs(node: Any) -> list[Any]:
    return keras.tree.flatten(make_plain(node.outputs))


def _make_input(tensor: Any) -> Any:
    if type(tensor).__name__ in ("RaggedKerasTensor", "SparseKerasTensor"):
        raise MigrationError(
            f"the input {tensor.name} is ragged or sparse; expected dense inputs. Write "
            "tf_keras.Input(shape) without ragged and sparse, and build the model again."
        )
    return keras.Input(
        batch_shape=tuple(tensor.shape),
        dtype=tensor.dtype.name,
        name=_layers.rename(tensor.name),
    )


def _copy(old: Any, new: Any) -> dict[int, keras.Variable]:
    """Copies the weights of a layer, and returns the new variable for each old one's `id`."""
    names = [re.sub(r":\d+$", "", each.name).rsplit("/", 1)[-1] for each in old.weights]
    shapes = [tuple(each.shape) for each in old.weights]
    if shapes != [tuple(each.shape) for each in new.weights]:
        came = ", ".join(f"{name} {shape}" for name, shape in zip(names, shapes, strict=True))
        wanted = ", ".join(f"{each.name} {tuple(each.shape)}" for each in new.weights)
        raise MigrationError(
            f"{old.name}, a {type(old).__name__}, has the weights {came or 'none'} in Keras 2 and "
            f"{wanted or 'none'} in Keras 3; expected the same shapes in the same order. Write "
            f"from_tfmot(model, custom_objects={{{type(old).__name__!r}: MyKeras3Layer}})."
        )
    for variable, value in zip(new.weights, old.weights, strict=True):
        variable.assign(np.asarray(value))
    return {id(a): b for a, b in zip(old.weights, new.weights, strict=True)}


def _explain_model(model: Any) -> str:
    return (
        f"{model.name} is a {type(model).__name__}, whose layers are not known before it runs; "
        "expected a Sequential or Functional model that knows its inputs. Build it as "
        "tf_keras.Sequential([tf_keras.Input(shape), ...]), or write it for Keras 3 and copy: "
        "new.set_weights(tfmot.sparsity.keras.strip_pruning(model).get_weights())."
    )
