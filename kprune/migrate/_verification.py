"""Compares a converted model with the model that it was made from."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kprune._support import warning
from kprune.export import _verification as comparison
from kprune.export._inputs import inspection
from kprune.migrate import _models
from kprune.migrate._errors import MigrationError

TOLERANCE = 1e-4  # of the largest output: sums run in another order, in networks as deep as NASNet
MIN_SCALE = 1e-3  # of outputs: those of all but zero weights
EXAMPLES = 4


def verify(old: Any, new: keras.Model) -> None:
    """Compares the outputs of both models on drawn inputs, without training.

    Args:
        old: of Keras 2. TFMOT's wrappers put its weights on their masks in a call; they are put
            back as they were.
        new: of Keras 3.

    Raises:
        MigrationError: the outputs differ.
    """
    signature = inspection.find_signature(new)
    count = old.inputs[0].shape[0] or EXAMPLES
    arguments = signature.pack(signature.draw(np.random.default_rng(0), count))
    before = old.get_weights()
    try:
        expected = _run(old, arguments)
    except Exception as error:  # words, or a range that the model expects, cannot be drawn
        message = str(error).partition("\n")[0]
        warning.warn(
            f"The outputs of {old.name} and of the Keras 3 model were not compared: on drawn "
            f"inputs the first raises {type(error).__name__}: {message:.200} Compare them on "
            "inputs of yours. Write np.abs(old(x) - keras.ops.convert_to_numpy(new(x))).max()."
        )
        return
    finally:
        old.set_weights(before)
    try:
        found = _run(new, arguments)
    except Exception as error:
        message = str(error).partition("\n")[0]
        raise MigrationError(
            f"the Keras 3 model of {old.name} cannot be called on {keras.backend.backend()}: "
            f"{type(error).__name__}: {message:.200} Expected a model that runs. Write "
            'os.environ["KERAS_BACKEND"] = "tensorflow" before the first import of keras.'
        ) from error
    difference = comparison.compare([found], [expected])
    allowed = TOLERANCE * max(difference.scale, MIN_SCALE)
    if difference.largest > allowed:
        raise MigrationError(
            f"the outputs of the Keras 3 model are {difference.largest:.3g} away from those of "
            f"{old.name}, which reach {difference.scale:.3g}; expected at most {allowed:.3g}. "
            + _explain(old)
        )


def _run(model: Any, arguments: Sequence[Any]) -> comparison.Values:
    outputs = keras.tree.flatten(_models.make_plain(model(*arguments, training=False)))
    return {str(index): _read(each) for index, each in enumerate(outputs)}


def _read(tensor: Any) -> Any:
    return np.asarray(tensor.detach() if hasattr(tensor, "detach") else tensor)


def _explain(old: Any) -> str:
    """Returns what may be the cause, and the line to write."""
    wrapped = [
        each.layer
        for each in old.submodules
        if type(each).__name__ == "PruneLowMagnitude" and hasattr(each, "layer")
    ]
    masking = [
        each.name
        for each in wrapped
        if getattr(each, "mask_zero", False) or getattr(each, "return_sequences", False)
    ]
    if masking:
        return (
            f"TFMOT's wrapper drops the mask of {', '.join(masking)}, which the layer alone passes "
            "on. Write from_tfmot(tfmot.sparsity.keras.strip_pruning(model)) for the model without "
            "wrappers, whose zeros become the masks."
        )
    return (
        "Keras 2 and 3 compute one of its layers differently. Write the layer for Keras 3 with the "
        "formula of Keras 2: from_tfmot(model, custom_objects={'Dense': MyKeras3Layer})."
    )
