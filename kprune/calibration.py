"""Calibration data: whatever a user has, read as batches, and checked before anything is computed.

Accepted are a `tf.data.Dataset`, a `keras.utils.PyDataset`, a list of batches or anything else that
can be read again and again; one tuple of whole arrays `(x, y)` or `(x, y, sample_weight)`; or the
whole `x` alone, an array or a dictionary of arrays, where no labels are needed.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar

import keras
import numpy as np
import tensorflow as tf

from kprune._support import progress
from kprune._support.typing import Array

T = TypeVar("T")

HOLD_OUT_INTERVAL = 5  # every fifth sample is held out


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Samples that are looked at together.

    Args:
        x: inputs as the model takes them, samples along the first axis.
        y: labels, or `None`.
        sample_weight: a weight for each sample, or `None`.
        first: how many samples came before.
        size: how many there are.
    """

    x: Any
    y: Any
    sample_weight: Any
    first: int
    size: int

    @property
    def held_out(self) -> Array:
        """Which of the samples are kept apart, where something is to be checked on others."""
        return (
            np.arange(self.first, self.first + self.size) % HOLD_OUT_INTERVAL
            == HOLD_OUT_INTERVAL - 1
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Calibration data for a model; it can be read any number of times.

    Args:
        data: as described at the top of this file.
        model: the model that takes it.
        caller: whose data it is, for messages: "OBS".
        labelled: whether labels are needed.
        batch_size: samples in a batch where `data` is whole arrays.
        part: all samples, or every fifth (`"held_out"`), or the others (`"fit"`).
        max_batch_size: larger batches are split into parts of so many samples. Default: none is.

    Raises:
        TypeError: the data can be read once only.
        ValueError: there is no data, no end to it, no labels where they are needed; or arrays of
            different lengths, inputs that the model does not take, NaN.

    Example:
        >>> [batch.size for batch in Calibration((x, y), model, "OBS", True, batch_size=20)]
        [20, 12]
    """

    data: Any
    model: keras.Model
    caller: str
    labelled: bool
    batch_size: int = 128
    part: Literal["all", "fit", "held_out"] = "all"
    max_batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.data is None:
            raise ValueError(f"{self.caller} has no data; expected {self._describe_expected()}")
        if isinstance(self.data, Iterator):
            raise TypeError(
                f"The data of {self.caller} is a {type(self.data).__name__}, which can be read once "
                f"only; expected what can be read again. Write {self.caller}(list(data)), or make it "
                "a tf.data.Dataset."
            )
        if (
            isinstance(self.data, tf.data.Dataset)
            and self.data.cardinality() == tf.data.INFINITE_CARDINALITY
        ):
            raise ValueError(
                f"The data of {self.caller} has no end; expected a finite data set. "
                f"Write {self.caller}(data.take(16))."
            )

    def __iter__(self) -> Iterator[Batch]:
        return self.batches("looking at the data")

    def batches(self, what: str) -> Iterator[Batch]:
        """Yields checked batches, with a bar that says what is done with them."""
        whole = self._as_arrays()
        if whole is None:
            total = len(self.data) if hasattr(self.data, "__len__") else None
            given = self.data
            if isinstance(self.data, keras.utils.PyDataset):  # it ends by its length alone
                given = (self.data[i] for i in range(len(self.data)))
        else:
            size = self._validate_lengths(whole)
            total = math.ceil(size / self.batch_size)
            starts = range(0, size, self.batch_size)
            given = (_take_rows(whole, slice(i, i + self.batch_size)) for i in starts)
        first = 0
        for batch in progress.track(given, what, total):
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
            if self.labelled and y is None:
                raise ValueError(
                    f"The data of {self.caller} has no labels; expected {self._describe_expected()}"
                )
            size = int(keras.tree.flatten(x)[0].shape[0])
            if size:
                self._validate_inputs(x, first)
                for part in self._split(Batch(x, y, sample_weight, first, size)):
                    yield from self._select_part(part)
            first += size
        if not first:
            raise ValueError(
                f"The data of {self.caller} is empty; expected {self._describe_expected()}"
            )

    def _split(self, batch: Batch) -> Iterator[Batch]:
        """The batch, in parts where it is larger than it may be."""
        most = self.max_batch_size or batch.size
        if most >= batch.size:
            yield batch
            return
        for start in range(0, batch.size, most):
            here = slice(start, min(start + most, batch.size))
            x, y, sample_weight = _take_rows((batch.x, batch.y, batch.sample_weight), here)
            yield Batch(x, y, sample_weight, batch.first + start, here.stop - start)

    def _select_part(self, batch: Batch) -> Iterator[Batch]:
        """The batch with the samples of this part alone, if there are any."""
        if self.part == "all":
            yield batch
        elif (places := np.flatnonzero(batch.held_out == (self.part == "held_out"))).size:
            x, y, sample_weight = keras.tree.map_structure(
                lambda array: None if array is None else tf.gather(array, places),
                (batch.x, batch.y, batch.sample_weight),
            )
            yield Batch(x, y, sample_weight, batch.first, places.size)

    def _as_arrays(self) -> tuple[Any, ...] | None:
        """The data as one tuple of whole arrays, or `None` where it comes in batches."""
        if isinstance(self.data, tuple):
            return self.data
        array = isinstance(self.data, (np.ndarray, tf.Tensor))
        return (self.data,) if array or isinstance(self.data, Mapping) else None

    def _validate_lengths(self, whole: tuple[Any, ...]) -> int:
        lengths = {len(array) for array in keras.tree.flatten(whole) if array is not None}
        if len(lengths) != 1:
            raise ValueError(
                f"The arrays of {self.caller} have lengths {sorted(lengths)}; expected one length, "
                f"the number of samples. Write {self.caller}((x, y)); batches go into a list."
            )
        return lengths.pop()

    def _validate_inputs(self, x: Any, first: int) -> None:
        flat = keras.tree.flatten(x)
        inputs = getattr(self.model, "inputs", None) or []
        takes = [tuple(tensor.shape) for tensor in inputs]
        comes = [tuple(array.shape) for array in flat]
        if takes and not (len(takes) == len(comes) and all(map(_is_accepted, comes, takes))):
            raise ValueError(
                f"The data of {self.caller} has inputs of shape {_join_shapes(comes)}; {self.model.name} "
                f"takes {_join_shapes(takes)}. Batches go into a list or a data set, whole arrays into "
                f"one tuple: write {self.caller}((x, y))."
            )
        for array in flat:
            floating = tf.as_dtype(array.dtype).is_floating
            if floating and not np.isfinite(np.asarray(array, np.float32)).all():
                raise ValueError(
                    f"The data of {self.caller} holds NaN or infinity among samples {first} to "
                    f"{first + len(array) - 1}; expected finite numbers. Find them with "
                    "numpy.isfinite(x)."
                )

    def _describe_expected(self) -> str:
        one = "(x, y)" if self.labelled else "x"
        return f"batches {one}, or whole arrays. Write {self.caller}({one})."

    def map(self, function: Callable[[Batch], T], what: str) -> Iterator[tuple[Batch, T]]:
        """Yields each batch with what a function makes of it.

        Args:
            function: calls the model with the batch, as in inference.
            what: shown in front of the progress bar.

        Raises:
            ValueError: the model cannot be called with a batch; says with which shapes it was.
        """
        for batch in self.batches(what):
            try:
                found = function(batch)
            except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
                raise ValueError(
                    f"{self.model.name} cannot be evaluated on the data of {self.caller}, inputs of "
                    f"shape {_describe_shapes(batch.x)} and labels of shape {_describe_shapes(batch.y)}: {error}"
                ) from error
            yield batch, found


def _take_rows(arrays: Any, rows: slice) -> Any:
    return keras.tree.map_structure(lambda array: None if array is None else array[rows], arrays)


def _is_accepted(comes: tuple[int, ...], takes: tuple[int | None, ...]) -> bool:
    """Whether a shape is one that Keras takes; it adds or drops a last axis of one by itself."""
    if len(comes) != len(takes):
        return abs(len(comes) - len(takes)) == 1 and max(comes, takes, key=len)[-1] == 1
    return all(b is None or a == b for a, b in zip(comes[1:], takes[1:], strict=True))


def _join_shapes(shapes: list[Any]) -> str:
    return ", ".join(str(shape) for shape in shapes)


def _describe_shapes(nest: Any) -> str:
    return _join_shapes(
        [np.shape(array) for array in keras.tree.flatten(nest) if array is not None]
    )
