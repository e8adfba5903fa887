"""Stores masks with a model, and makes every optimizer keep to them.

Keras applies a variable's constraint after every update, inside the compiled step. So a mask needs
no operation in the forward pass, no training step of its own and no callback.
"""

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from kprune import patterns
from kprune._keras import backend, saving, state, step_variables, walk
from kprune._masking import lora, storing
from kprune._masking.locations import Location
from kprune._masking.weight import Weight
from kprune._support import warning

_NAME = "masks"
_WITHOUT_MASKS = (
    "These weights were saved from a model without masks: the masks stay as they are. "
    "To take the file's zeros as masks, load it first, then call kprune.wrap(model)."
)


class OnMask(keras.constraints.Constraint):
    """Holds a weight at zero wherever its mask is false: `w <- where(mask, c(w), 0)`.

    `wrap` sets it; the user's own constraint `c` sees the masked weight and is masked again.

    Args:
        weight: the weight with its mask and the user's constraint.

    Attributes:
        own: the constraint `c`. A training method may borrow it to act before the mask does.
    """

    def __init__(self, weight: Weight) -> None:
        self.weight = weight
        self.own = weight.constraint

    def __call__(self, w: Any) -> Any:
        """Returns the weight on its mask."""
        mask, own, w = self.weight.mask.value, self.own, ops.convert_to_tensor(w)
        # `where`, not a product: it keeps no NaN or infinity of a weight that is pruned.
        return ops.where(mask, w if own is None else own(ops.where(mask, w, 0)), 0)


class Masks(keras.layers.Layer):
    """Holds the masks of a model or layer, and saves them with it."""

    followed: contextlib.ExitStack

    def __init__(self) -> None:
        super().__init__(name=_NAME, trainable=False, dtype="float32")
        self.built = True
        self.locations: list[Location] = []  # of the weights, in the order of the masks
        self.owner: Callable[[], keras.layers.Layer | None] = lambda: None
        object.__setattr__(self, "followed", contextlib.ExitStack())

    def add(
        self,
        location: Location,
        label: str,
        pattern: patterns.Pattern,
        kept_at_wrap: int | None = None,
        floor: int = 0,
    ) -> Weight:
        """Gives a variable a mask and the constraint that keeps to it.

        Exact zeros of a kernel that has other values are taken for pruned ones and stay; a
        kernel of zeros alone has not been trained yet and is free.

        Args:
            location: where the variable lives.
            label: the weight's class.
            pattern: what of it is pruned as one piece.
            kept_at_wrap: how many values were there when it was wrapped. Default: those now.
            floor: how many values no pruning takes away.
        """
        variable = location.variable
        alive = backend.read(variable) != 0
        mask = step_variables.add(self, variable, "bool", "ones")
        self.locations.append(location)
        kept = int(np.count_nonzero(alive))
        if 0 < kept < alive.size:
            mask.assign(alive)
        if kept_at_wrap is None:
            kept_at_wrap = kept or alive.size
        weight = Weight(location, mask, label, pattern, variable.constraint, kept_at_wrap, floor)
        variable.constraint = OnMask(weight)
        self.followed.enter_context(lora.follow(weight))
        return weight

    def save_own_variables(self, store: Any) -> None:
        """Writes each mask under the path of its weight."""
        storing.save(store, self._by_path())

    def release(self) -> None:
        """Ends what keeps sums of LoRA on the masks."""
        self.followed.close()

    def load_own_variables(self, store: Any) -> None:
        """Reads the masks; a file of an unwrapped model has none and leaves them as they are."""
        if len(store.keys()):
            storing.load(store, self._by_path(), "masks")
        else:
            warning.warn(_WITHOUT_MASKS)

    def _by_path(self) -> dict[str, keras.Variable]:
        found = storing.paths(self.owner(), self.locations)
        return dict(zip(found, self.weights, strict=True))


def attach(owner: keras.layers.Layer, masks: Masks) -> None:
    """Stores masks in the record of a model or layer."""
    masks.owner = weakref.ref(owner)
    state.put(owner, _NAME, masks)


def detach(owner: keras.layers.Layer) -> None:
    """Removes the masks from the record of a model or layer."""
    state.forget(owner, _NAME)


def attached(owner: keras.layers.Layer) -> Masks | None:
    """Returns the masks in the record of a model or layer itself."""
    found: Masks | None = state.get(owner, _NAME)
    return found


def holders(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the model and each layer in it that holds masks."""
    return [layer for layer in walk.layers(model) if attached(layer) is not None]


def on_mask(variable: keras.Variable) -> OnMask | None:
    """Returns the constraint that keeps a variable on its mask, or `None` where it has none."""
    return variable.constraint if isinstance(variable.constraint, OnMask) else None


def _warn_of_legacy_saving(model: keras.layers.Layer) -> None:
    if holders(model):
        warning.warn(
            f"A file of the old format (.h5) holds the weights of {model.name} with their zeros, "
            'but no masks. Write model.save("model.keras") or '
            'model.save_weights("model.weights.h5") to keep the masks too.',
        )


def _warn_of_legacy_loading(model: keras.layers.Layer) -> None:
    if holders(model):
        warning.warn(_WITHOUT_MASKS)


saving.extend_legacy_files(_warn_of_legacy_saving, _warn_of_legacy_loading)
