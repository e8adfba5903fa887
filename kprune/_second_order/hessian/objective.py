"""A model's own compiled loss as a function of some of its weights."""

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from kprune import calibration
from kprune._keras import compiled
from kprune._support.typing import Array

T = TypeVar("T")


class Objective:
    """The compiled loss of a model, in inference mode, and its derivatives.

    Dropout is off, batch normalisation uses its moving statistics, sample weights count as in
    `fit`, and losses that layers add (regularizers) are part of it.

    Args:
        model: a compiled model.
        variables: the weights that it is a function of.
        caller: whose objective it is, for messages.

    Raises:
        ValueError: the model is not compiled.

    Example:
        >>> float(Objective(model, model.trainable_variables, "example").value(x, y)) > 0
        True
    """

    def __init__(
        self, model: keras.Model, variables: Sequence[keras.Variable], caller: str
    ) -> None:
        if not model.compiled:
            raise ValueError(
                f"{caller} needs a loss, and {model.name} has none; expected a compiled model. "
                'Write model.compile("adam", "sparse_categorical_crossentropy") first.'
            )
        self.model, self.caller = model, caller
        self.variables = [variable.value for variable in variables]

    def compile_once(self, key: Hashable, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function compiled, or what was compiled for the same key, loss and weights.

        A cut in several parts looks at the same curvature again and again, and to trace it takes
        longer than to compute it. Traces are kept until the model computes something else.

        Args:
            key: tells functions of the same loss and weights apart.
            function: of `(x, y, sample_weight)` and more tensors.
        """
        traces = compiled.traces(self.model)
        whole = key, tuple(id(variable) for variable in self.variables)
        if whole not in traces:
            traces[whole] = compiled.compile_function(function)
        return traces[whole]

    def value(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        """Returns the loss of a batch: a scalar tensor."""
        return self.compute_loss(x, y, self.model(x, training=False), sample_weight)

    def compute_loss(self, x: Any, y: Any, outputs: Any, sample_weight: Any = None) -> Any:
        """Returns the loss of a batch whose outputs are known."""
        return self.model.compute_loss(x, y, outputs, sample_weight, training=False)

    def gradient(self, x: Any, y: Any, sample_weight: Any = None) -> list[Any]:
        """Returns the derivative of the loss of a batch by each weight, in its shape."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            loss = self.value(x, y, sample_weight)
        return differentiate(tape, loss, self.variables)

    @contextlib.contextmanager
    def preserve_metrics(self) -> Iterator[None]:
        """Keeps the model's metrics as they are: losses of several outputs count themselves."""
        variables = [variable for metric in self.model.metrics for variable in metric.variables]
        held = [tf.identity(variable.value) for variable in variables]
        try:
            yield
        finally:
            for variable, value in zip(variables, held, strict=True):
                variable.assign(value)

    def map_batches(
        self, data: calibration.Calibration, function: Callable[..., T], what: str
    ) -> Iterator[tuple[calibration.Batch, T]]:
        """Yields each batch with `function(x, y, sample_weight)` of it.

        Args:
            data: the calibration data.
            function: of tensors; compile it with `tf.function`.
            what: shown in front of the progress bar.
        """
        with self.preserve_metrics():
            yield from data.map(
                lambda batch: function(batch.x, batch.y, batch.sample_weight),
                f"{self.caller}: {what}",
            )

    def mean_loss(self, data: calibration.Calibration) -> float:
        """Returns the loss over all data, each batch in proportion to its samples."""
        value = self.compile_once("value", self.value)
        return float(self.average(data, lambda *batch: [value(*batch)], "loss")[0])

    def average(
        self, data: calibration.Calibration, function: Callable[..., Any], what: str
    ) -> list[Array]:
        """Returns the mean over all data of a function of batches, each by its samples.

        Args:
            data: the calibration data.
            function: of `(x, y, sample_weight)`, to a list of tensors or arrays.
            what: shown in front of the progress bar.
        """
        totals: list[Array] = []
        samples = 0
        for batch, found in self.map_batches(data, function, what):
            arrays = [batch.size * np.asarray(value, np.float64) for value in found]
            totals = [a + b for a, b in zip(totals, arrays, strict=True)] if totals else arrays
            samples += batch.size
        return [total / samples for total in totals]


def differentiate(
    tape: tf.GradientTape, target: Any, variables: Sequence[Any], **kwargs: Any
) -> Any:
    """Returns `tape.gradient`, zero where nothing leads there and dense for embeddings."""
    found = tape.gradient(target, variables, unconnected_gradients="zero", **kwargs)
    return [tf.convert_to_tensor(value) for value in found]
