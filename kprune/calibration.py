"""Reads calibration data as batches, and validates it before anything is computed.

Accepted are a `tf.data.Dataset`, a `keras.utils.PyDataset`, a list of batches or anything else that
can be iterated several times; one tuple of whole arrays `(x, y)` or `(x, y, sample_weight)`; or the
whole `x` alone, an array or a dictionary of arrays, if no labels are needed.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import keras
import numpy as np

from kprune._keras import backend
from kprune._support import progress, signatures, validation
from kprune._support.typing import Array

__all__ = ["Batch", "Calibration", "Data"]

T = TypeVar("T")


class _Indexable(Protocol):
    """Describes data whose batches are read by their index, such as `keras.utils.PyDataset`."""

    def __getitem__(self, index: Any, /) -> Any: ...


# What is accepted as calibration data; see the top of this file.
Data: TypeAlias = Iterable[Any] | _Indexable

HOLD_OUT_INTERVAL = 5  # every fifth sample is held out
INFINITE = -1  # the cardinality of a `tf.data.Dataset` without an end


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Holds samples that are evaluated together.

    Args:
        x: inputs as the model takes them, samples along the first axis.
        y: labels, or `None`.
        sample_weight: a weight for each sample, or `None`.
        first: how many samples came before.
        size: how many samples there are.
    """

    x: Any
    y: Any
    sample_weight: Any
    first: int
    size: int

    @property
    def held_out(self) -> Array:
        """Which of the samples are held out, boolean [size]."""
        positions = np.arange(self.first, self.first + self.size)
        return positions % HOLD_OUT_INTERVAL == HOLD_OUT_INTERVAL - 1


@signatures.explain_constructor
@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Iterates over calibration data for a model, any number of times.

    Use it in a criterion of your own that needs data; `kprune.criteria.Calibrated` makes it.

    Args:
        data: as described at the top of this file.
        model: the model that takes it.
        caller: the name of what takes the data, for messages: "OBS".
        labelled: whether labels are needed.
        batch_size: samples in a batch if `data` is whole arrays.
        part: "all" samples, every fifth ("held_out"), or the others ("fit").
        max_batch_size: larger batches are split. Default: none is.

    Raises:
        TypeError: the data can be iterated only once.
        ValueError: there is no data, it is infinite, or labels are missing; or the arrays have
            different lengths, the model does not take such inputs, or they contain NaN.

    Example:
        >>> [batch.size for batch in Calibration((x, y), model, "OBS", True, batch_size=200)]
        [200, 120]
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
            raise ValueError(
                f"data=None: {self.caller} has no data; expected {self._describe_expected()}"
            )
        validation.require_whole(self.batch_size, "batch_size", write=128)
        is_indexable = hasattr(self.data, "__getitem__") or hasattr(self.data, "__iter__")
        if isinstance(self.data, (str, bytes, type)) or not is_indexable:
            raise TypeError(
                f"The data of {self.caller} is {validation.describe_kind(self.data)}; expected "
                f"{self._describe_expected()}"
            )
        if isinstance(self.data, Iterator):
            raise TypeError(
                f"The data of {self.caller} is a {type(self.data).__name__}, which can be read "
                f"once only; expected what can be read again. Write {self.caller}(list(data)), or "
                "make it a tf.data.Dataset."
            )
        if backend.is_tensorflow_data(self.data) and int(self.data.cardinality()) == INFINITE:
            raise ValueError(
                f"The data of {self.caller} has no end; expected a finite data set. "
                f"Write {self.caller}(data.take(16))."
            )

    def __iter__(self) -> Iterator[Batch]:
        return self.batches("reading the data")

    def batches(self, what: str) -> Iterator[Batch]:
        """Yields validated batches.

        Args:
            what: the text in front of the progress bar.
        """
        arrays = self._as_arrays()
        if arrays is None:
            total = progress.count(self.data)
            batches = self.data
            if isinstance(self.data, keras.utils.PyDataset):  # it ends only by its length
                batches = (self.data[i] for i in range(len(self.data)))
        else:
            size = self._validate_lengths(arrays)
            total = math.ceil(size / self.batch_size)
            starts = range(0, size, self.batch_size)
            batches = (_take_rows(arrays, slice(i, i + self.batch_size)) for i in starts)
        first = 0
        for batch in progress.track(batches, what, total):
            self._validate_batch(batch)
            x, y, sample_weight = _unpack(batch)
            self._validate_arrays(x)
            if self.labelled and y is None:
                raise ValueError(
                    f"The data of {self.caller} has no labels; expected {self._describe_expected()}"
                )
            size = int(keras.tree.flatten(x)[0].shape[0])
            self._validate_labels((y, sample_weight), size)
            if size:
                self._validate_inputs(x, first)
                for piece in self._split(Batch(x, y, sample_weight, first, size)):
                    yield from self._select_part(piece)
            first += size
        if not first:
            raise ValueError(
                f"The data of {self.caller} is empty; expected {self._describe_expected()}"
            )

    def map(self, function: Callable[[Batch], T], what: str) -> Iterator[tuple[Batch, T]]:
        """Yields each batch with the result of a function for it.

        Args:
            function: calls the model with the batch, in inference mode.
            what: the text in front of the progress bar.

        Raises:
            ValueError: the model cannot be called with a batch; the message has its shapes.
        """
        for batch in self.batches(what):
            try:
                result = function(batch)
            except backend.call_errors() as error:
                raise ValueError(
                    f"{self.model.name} cannot be evaluated on the data of {self.caller}, inputs "
                    f"of shape {_describe_shapes(batch.x)} and labels of shape "
                    f"{_describe_shapes(batch.y)}: {error} Expected {self._describe_expected()}"
                ) from error
            yield batch, result

    def _split(self, batch: Batch) -> Iterator[Batch]:
        """Yields the batch in pieces of at most `max_batch_size` samples."""
        limit = self.max_batch_size or batch.size
        if limit >= batch.size:
            yield batch
            return
        for start in range(0, batch.size, limit):
            rows = slice(start, min(start + limit, batch.size))
            x, y, sample_weight = _take_rows((batch.x, batch.y, batch.sample_weight), rows)
            yield Batch(x, y, sample_weight, batch.first + start, rows.stop - start)

    def _select_part(self, batch: Batch) -> Iterator[Batch]:
        """Yields the batch with the samples of this part alone, if there are any."""
        if self.part == "all":
            yield batch
        elif (places := np.flatnonzero(batch.held_out == (self.part == "held_out"))).size:
            x, y, sample_weight = keras.tree.map_structure(
                lambda array: None if array is None else _take_places(array, places),
                (batch.x, batch.y, batch.sample_weight),
            )
            yield Batch(x, y, sample_weight, batch.first, places.size)

    def _as_arrays(self) -> tuple[Any, ...] | None:
        """Returns the data as one tuple of whole arrays, or `None` if it comes in batches."""
        if isinstance(self.data, tuple):
            return tuple(keras.tree.map_structure(_as_array, self.data))
        whole = _is_array(self.data) or isinstance(self.data, Mapping)
        return (keras.tree.map_structure(_as_array, self.data),) if whole else None

    def _validate_lengths(self, arrays: tuple[Any, ...]) -> int:
        if not arrays:
            raise ValueError(
                f"The data of {self.caller} is empty; expected {self._describe_expected()}"
            )
        self._validate_arrays(arrays[0])
        lengths = {len(array) for array in keras.tree.flatten(arrays) if array is not None}
        if len(lengths) != 1:
            raise ValueError(
                f"The arrays of {self.caller} have lengths {sorted(lengths)}; expected one length, "
                f"the number of samples. Write {self.caller}((x, y)); batches go into a list."
            )
        return lengths.pop()

    def _validate_inputs(self, x: Any, first: int) -> None:
        arrays = keras.tree.flatten(x)
        self._validate_types(arrays)
        inputs = getattr(self.model, "inputs", None) or []
        expected = [tuple(tensor.shape) for tensor in inputs]
        shapes = [tuple(array.shape) for array in arrays]
        matches = len(expected) == len(shapes) and all(map(_is_accepted, shapes, expected))
        if expected and not matches:
            raise ValueError(
                f"The data of {self.caller} has inputs of shape {_join_shapes(shapes)}; expected "
                f"{_join_shapes(expected)}, which {self.model.name} takes. Batches go into a list "
                f"or a data set, whole arrays into one tuple: write {self.caller}((x, y))."
            )
        for array in arrays:
            floating = "float" in getattr(array.dtype, "name", str(array.dtype))
            if floating and not np.isfinite(backend.to_numpy(array).astype(np.float32)).all():
                raise ValueError(
                    f"The data of {self.caller} holds NaN or infinity among samples {first} to "
                    f"{first + len(array) - 1}; expected finite numbers. To find them write "
                    "numpy.argwhere(~numpy.isfinite(x))."
                )

    def _validate_batch(self, batch: Any) -> None:
        """Raises TypeError if a batch is a list of numbers or of single samples."""
        if isinstance(batch, (list, tuple)) and not 1 <= len(batch) <= 3:
            held = validation.describe_kind(batch[0]) if batch else "nothing"
            raise TypeError(
                f"The data of {self.caller} has a batch that is a {type(batch).__name__} of "
                f"{len(batch)}, the first {held}; expected arrays with samples along "
                f"the first axis. Write {self.caller}(numpy.asarray(x)), or batches (x, y)."
            )

    def _validate_arrays(self, x: Any) -> None:
        """Raises TypeError if a batch is made of something other than arrays."""
        for leaf in keras.tree.flatten(x) or [x]:
            if not np.ndim(leaf) or not _is_array(leaf):
                raise TypeError(
                    f"The data of {self.caller} has a batch that holds "
                    f"{validation.describe_kind(leaf)}; expected arrays with samples along the "
                    f"first axis. Write {self.caller}(numpy.asarray(x))."
                )

    def _validate_labels(self, labels: Any, size: int) -> None:
        """Raises if labels or sample weights are text, or are not one for each sample."""
        for array in keras.tree.flatten(labels):
            if getattr(getattr(array, "dtype", None), "kind", "f") in "OUS":
                raise TypeError(
                    f"The data of {self.caller} has labels of type {array.dtype}; expected "
                    f'numbers. Write {self.caller}((x, y.astype("int32"))).'
                )
            shape = tuple(getattr(array, "shape", None) or (size,))
            if shape[0] not in (size, None):
                raise ValueError(
                    f"The data of {self.caller} has a batch of {size} samples with labels or "
                    f"weights of shape {shape}; expected one for each sample. "
                    f"Write {self.caller}([(x[:{size}], y[:{size}])])."
                )

    def _validate_types(self, arrays: list[Any]) -> None:
        """Raises TypeError if text came where the model takes numbers."""
        inputs = getattr(self.model, "inputs", None) or []
        if not inputs or any("string" in str(tensor.dtype) for tensor in inputs):
            return
        for array in arrays:
            if getattr(array.dtype, "kind", "f") in "OUSc":
                raise TypeError(
                    f"The data of {self.caller} holds values of type {array.dtype}; expected "
                    f'real numbers. Write {self.caller}(x.astype("float32")).'
                )

    def _describe_expected(self) -> str:
        one = "(x, y)" if self.labelled else "x"
        return f"batches {one}, or whole arrays. Write {self.caller}({one})."


def _is_array(data: Any) -> bool:
    """Returns whether something is an array, a tensor of any library, or a table of pandas."""
    return hasattr(data, "shape") and hasattr(data, "dtype") or hasattr(data, "to_numpy")


def _as_array(array: Any) -> Any:
    """Returns what Keras's backend takes: its own tensor, or an array."""
    if array is None or backend.is_native(array):
        return array
    if hasattr(array, "to_numpy"):  # pandas: a DataFrame or a Series
        return array.to_numpy()
    return backend.to_numpy(array) if _is_array(array) else array


def _unpack(batch: Any) -> tuple[Any, Any, Any]:
    """Returns x, y and sample weights of a batch; torch's loaders give them in a list."""
    if isinstance(batch, list) and 1 <= len(batch) <= 3:
        batch = tuple(batch)
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    return tuple(keras.tree.map_structure(_as_array, part) for part in (x, y, sample_weight))  # type: ignore[return-value]


def _take_places(array: Any, places: Array) -> Any:
    """Returns the rows of an array at some places."""
    if isinstance(array, np.ndarray):
        return array[places]
    return keras.ops.take(array, places, axis=0)


def _take_rows(arrays: Any, rows: slice) -> Any:
    return keras.tree.map_structure(lambda array: None if array is None else array[rows], arrays)


def _is_accepted(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Returns whether Keras takes a shape; it adds or drops a last axis of one by itself."""
    if len(shape) != len(expected):
        return abs(len(shape) - len(expected)) == 1 and max(shape, expected, key=len)[-1] == 1
    return all(b is None or a == b for a, b in zip(shape[1:], expected[1:], strict=True))


def _join_shapes(shapes: list[Any]) -> str:
    return ", ".join(str(shape) for shape in shapes)


def _describe_shapes(nest: Any) -> str:
    return _join_shapes(
        [np.shape(array) for array in keras.tree.flatten(nest) if array is not None]
    )
