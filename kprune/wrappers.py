"""Masks beside the weights: where they are stored, and how the optimizer keeps to them.

Keras applies a variable's constraint after every update, inside the compiled step. So a mask needs
no operation in the forward pass, no training step of its own and no callback: `OnMask` is the
constraint, and `Masks` holds the mask variables under an attribute of the model, where Keras's
saving finds them and its counting of weights does not.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kprune import patterns, registration, weights

ATTRIBUTE = "kprune_masks"
CUTS = "kprune_cuts"
MADE_AT = "kprune_made_at"
INITIAL_RATE = "kprune_initial_rate"


class OnMask(keras.constraints.Constraint):
    """Holds a weight at zero wherever its mask is false: `w <- where(mask, c(w), 0)`.

    `wrap` sets it; the user's own constraint `c` sees the masked weight and is masked again.

    Args:
        weight: the weight with its mask and the user's constraint.
    """

    def __init__(self, weight: weights.Weight) -> None:
        self.weight = weight

    def __call__(self, w: Any) -> Any:
        """Returns the weight on its mask."""
        mask, own = self.weight.mask.value, self.weight.constraint
        zero = tf.zeros([], w.dtype)
        # `where`, not a product: it keeps no NaN or infinity of a weight that is gone.
        return tf.where(mask, w if own is None else own(tf.where(mask, w, zero)), zero)


class Masks(keras.layers.Layer):
    """Holds the masks of a model or layer, and saves them with it.

    It hangs on its owner as the attribute `kprune_masks` without being tracked as a sublayer: the
    owner's weights, summary and parameter count stay what they were.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(name="masks", trainable=False, dtype="float32", **kwargs)
        self.built = True

    def add(self, site: weights.Site, label: str, pattern: patterns.Pattern) -> weights.Weight:
        """Gives a variable a mask and the constraint that keeps to it.

        Exact zeros of a kernel that has other values are taken for pruned ones and stay; a
        kernel of zeros alone has not been trained yet and is free.
        """
        variable = site.variable
        alive = tf.not_equal(variable.value, 0)
        if not tf.reduce_any(alive):
            alive = tf.ones_like(alive)
        mask = self.add_weight(
            name=variable.name,
            shape=variable.shape,
            dtype="bool",
            initializer="ones",
            trainable=False,
        )
        mask.assign(alive)
        kept = int(np.count_nonzero(weights.read(mask)))
        weight = weights.Weight(site, mask, label, pattern, variable.constraint, kept)
        variable.constraint = OnMask(weight)
        return weight

    def load_own_variables(self, store: Any) -> None:
        """Reads the masks; a file of an unwrapped model has none and leaves them as they are."""
        if not len(store.keys()):
            warnings.warn(
                "These weights were saved from a model without masks: the masks stay as they are. "
                "To take the file's zeros as masks, load it first, then call kprune.wrap(model).",
                stacklevel=2,
            )
            return
        super().load_own_variables(store)


@registration.register
class Pruned(keras.layers.Wrapper):
    """A layer with masks of its own, for those who build a model layer by layer.

    Use it inside a model of one's own, before the layer is built; `kprune.wrap(layer)` makes it.
    A model that exists already is wrapped whole, in place, by `kprune.wrap(model)`. Saved with the
    model and loaded by Keras, masks included, where kprune is imported.

    Args:
        layer: any Keras layer. Layers without a kernel are left alone.
        pattern: what of its kernels is cut as one piece.
        **kwargs: `name` and what else a Keras layer takes. The name is the layer's own.

    Example:
        >>> keras.Sequential([kprune.Pruned(keras.layers.Dense(300)), keras.layers.Dense(10)])
    """

    def __init__(
        self, layer: keras.layers.Layer, pattern: Any = "unstructured", **kwargs: Any
    ) -> None:
        super().__init__(layer, **{"name": getattr(layer, "name", None), **kwargs})
        self.pattern = patterns.get(pattern)
        attach(self, Masks())
        if layer.built:
            self._add_masks()

    def build(self, input_shape: Any = None) -> None:
        """Builds the layer, then its masks."""
        super().build(input_shape)
        self._add_masks()

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer; the masks cost nothing here."""
        return self.layer(inputs, *args, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the layer's own."""
        return self.layer.compute_output_shape(input_shape)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Returns the layer's own: a mask of time steps, not of weights."""
        return self.layer.compute_mask(inputs, previous_mask)

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's config and the pattern's."""
        pattern = keras.saving.serialize_keras_object(self.pattern)
        return {**super().get_config(), "pattern": pattern}

    def _add_masks(self) -> None:
        chosen, _ = weights.survey(self.layer)
        holder = masks_of(self)
        for site in chosen:
            if holder is not None and not isinstance(site.variable.constraint, OnMask):
                holder.add(site, site.path.rsplit("/", 1)[0], self.pattern)


def attach(owner: keras.layers.Layer, masks: Masks) -> None:
    """Hangs masks on a model or layer, unseen by Keras's tracking of sublayers."""
    object.__setattr__(owner, ATTRIBUTE, masks)


def detach(owner: keras.layers.Layer) -> None:
    """Takes the masks off a model or layer."""
    object.__delattr__(owner, ATTRIBUTE)


def masks_of(owner: keras.layers.Layer) -> Masks | None:
    """Returns the masks that hang on a model or layer itself."""
    return vars(owner).get(ATTRIBUTE)


def holders(model: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yields the model and each layer in it that holds masks."""
    return (layer for layer in model._flatten_layers() if masks_of(layer) is not None)


def find(model: keras.layers.Layer) -> list[weights.Weight]:
    """Returns the masked weights of a model, each once, in the order of its layers.

    Raises:
        ValueError: the model has none.
    """
    found = present(model)
    if not found:
        raise ValueError(
            f"{model.name} has no masks; expected a wrapped model. "
            "Write kprune.wrap(model) before this line."
        )
    return found


def present(model: keras.layers.Layer) -> list[weights.Weight]:
    """Returns the masked weights of a model; none where it is not wrapped."""
    constraints = (site.variable.constraint for site in weights.walk(model))
    return [each.weight for each in constraints if isinstance(each, OnMask)]


def project(model: keras.layers.Layer) -> None:
    """Puts every masked weight back on its mask.

    The optimizer does this after each of its updates. Call it after values came from elsewhere:
    `set_weights`, an average of weights, an update that no Keras optimizer made.

    Example:
        >>> kprune.project(model)
    """
    for weight in present(model):
        write(weight)


def scope(model: Any) -> Any:
    """Returns the distribution strategy under which a model's variables are made."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.scope() if strategy is not None else contextlib.nullcontext()


def cuts(model: keras.layers.Layer) -> int:
    """Returns how often the masks of a model were made anew in this process."""
    return int(vars(model).get(CUTS, 0))


def count_cut(model: keras.layers.Layer) -> None:
    """Counts that the masks of a model were made anew."""
    object.__setattr__(model, CUTS, cuts(model) + 1)


def made_at(model: keras.layers.Layer) -> int | None:
    """Returns the step of a schedule at which the masks were last made; `None` before the first."""
    return vars(model).get(MADE_AT)


def set_made_at(model: keras.layers.Layer, step: int) -> None:
    """Notes the step of a schedule at which the masks were made."""
    object.__setattr__(model, MADE_AT, step)


def forget(layer: keras.layers.Layer, *names: str) -> None:
    """Forgets what was noted of a model or layer under these names."""
    for name in names:
        if name in vars(layer):
            object.__delattr__(layer, name)


def initial_rate(dropout: keras.layers.Dropout) -> float:
    """Returns the rate that a dropout layer had when it was first adjusted."""
    if INITIAL_RATE not in vars(dropout):
        object.__setattr__(dropout, INITIAL_RATE, dropout.rate)
    return float(vars(dropout)[INITIAL_RATE])


def write(weight: weights.Weight, mask: weights.Array | None = None, values: Any = None) -> None:
    """Writes a weight's mask, and its values on that mask."""
    mine, variable = weight.mask.value, weight.variable.value
    if mask is not None:
        mine.assign(mask)
        del mask  # freed before the values are copied, which is where memory peaks
    values = variable if values is None else tf.cast(values, variable.dtype)
    variable.assign(tf.where(mine, values, tf.constant(0, variable.dtype)))


def replace_pruned(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns the layer with every `Pruned` in it replaced by what it wraps.

    A graph of layers is rebuilt around the same layers and variables; attributes of other layers
    are replaced in place.
    """
    if isinstance(layer, Pruned):
        return replace_pruned(layer.layer)
    if not any(isinstance(each, Pruned) for each in layer._flatten_layers()):
        return layer
    if isinstance(layer, keras.Model) and hasattr(layer, "inputs"):  # a graph
        rebuilt = keras.models.clone_model(layer, clone_function=replace_pruned)
        if layer.compiled:
            rebuilt.compile_from_config(layer.get_compile_config())
            rebuilt.optimizer = layer.optimizer
        return rebuilt
    layer._tracker.unlock()
    for name, value in list(vars(layer).items()):
        held = value if isinstance(value, list) else [value]
        old = [each for each in held if isinstance(each, keras.layers.Layer)]
        if name.startswith("_") or not old:
            continue
        for each in old:
            layer._tracker.untrack(each)
        new = [replace_pruned(each) if each in old else each for each in held]
        setattr(layer, name, new if isinstance(value, list) else new[0])
    layer._tracker.lock()
    return layer
