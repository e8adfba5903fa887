"""Makes examples of a model's inputs: from representative data in any form, or drawn."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kprune._support import validation
from kprune._support.typing import Array
from kprune.export._inputs import signatures

MAX_EXAMPLES = 256  # of representative data: calibration gains little from more
SINGLE_BATCHES = 4  # runs of one batch on which a file is compared
FREE_BATCH = 3  # examples in one further run, which shows that the batch is free


def read_examples(signature: signatures.Signature, data: Any) -> list[list[Array]]:
    """Returns the first examples of representative data, one array for each input, batches of one.

    Args:
        signature: of the model.
        data: an array; a tuple or dict of arrays for several inputs; a `tf.data.Dataset` or any
            iterable of such batches, labelled or not. Labels are dropped.

    Raises:
        ValueError: what came does not fit the model's inputs, or is empty.

    Example:
        >>> from kprune.export._inputs import inspection
        >>> len(read_examples(inspection.find_signature(model), np.zeros((1000, 12), "float32")))
        256
    """
    rows = list(itertools.islice(_rows(signature, data), MAX_EXAMPLES))
    if not rows:
        raise ValueError(
            "representative_data is empty; expected batches of inputs, such as the first of the "
            "training set. Write representative_data=x_train[:256]."
        )
    return rows


def batches(
    signature: signatures.Signature, rows: Sequence[list[Array]] | None, seed: int = 0
) -> list[list[Array]]:
    """Returns the inputs to compare on: some single batches and, where it is free, a larger one.

    Args:
        signature: of the model.
        rows: examples to take them from. Default: they are drawn.
        seed: of the drawing.
    """
    random = np.random.default_rng(seed)
    fixed = signature.batch_size
    counts = [fixed or 1] * SINGLE_BATCHES + ([] if fixed else [FREE_BATCH])
    if rows is None:
        return [signature.draw(random, count) for count in counts]
    endless = itertools.cycle(rows)
    return [stack(list(itertools.islice(endless, count))) for count in counts]


def stack(rows: Sequence[list[Array]]) -> list[Array]:
    """Joins examples into one batch."""
    return [np.concatenate(arrays) for arrays in zip(*rows, strict=True)]


def _rows(signature: signatures.Signature, data: Any) -> Iterator[list[Array]]:
    for batch in _batches(signature, data):
        flat = signature.flatten(batch)
        if flat is None:
            shapes = keras.tree.map_structure(_describe, batch)
            wanted = {each.name: each.shape for each in signature.inputs}
            raise ValueError(
                f"a batch of representative_data has shapes {shapes}; expected {wanted}, with or "
                "without labels. Write representative_data=x_train[:256]."
            )
        for each in flat:
            if each.dtype.kind == "f" and not np.isfinite(each).all():
                raise ValueError(
                    "representative_data holds NaN or infinity; expected finite numbers. To find "
                    "them write numpy.argwhere(~numpy.isfinite(x))."
                )
        for index in range(len(flat[0])):
            yield [array[index : index + 1] for array in flat]


def _describe(leaf: Any) -> str:
    """Returns the shape of an array, with its type where it holds no numbers."""
    array = np.asarray(leaf)
    return f"{array.shape}" + (f" of {array.dtype}" if array.dtype.kind in "OUS" else "")


def _batches(signature: signatures.Signature, data: Any) -> Iterable[Any]:
    """Returns an iterable of batches: the data, or the one batch that they are."""
    several = len(signature.inputs) > 1
    whole = isinstance(data, (Mapping, tuple)) or hasattr(data, "__array__")
    if isinstance(data, list) and several and signature.flatten(data) is not None:
        whole = True
    if whole:
        return [data]
    listed = isinstance(data, Iterable) or hasattr(data, "__getitem__")
    if not listed or isinstance(data, (str, bytes, type)):
        raise ValueError(
            f"representative_data={validation.describe_kind(data)}; expected an array, a tuple or "
            "dict of arrays, a tf.data.Dataset or another iterable of batches. "
            "Write representative_data=x_train[:256]."
        )
    return data  # type: ignore[no-any-return]
