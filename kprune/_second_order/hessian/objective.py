"""Evaluates and differentiates a model's own compiled loss."""

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import keras
import numpy as np

from kprune import calibration
from kprune._keras import backend, compiled, differentiation
from kprune._keras.tensorflow import tf
from kprune._support.typing import Array

T = TypeVar("T")


class Objective:
    """Evaluates the compiled loss of a model in inference mode, and its derivatives.

    Dropout is off, batch normalisation uses its moving statistics, sample weights count as in
    `fit`, and losses that layers add (regularizers) are included.

    Args:
        model: a compiled model.
        variables: the weights by which the loss is differentiated.
        caller: the name of what needs the loss, for messages.

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
        self._gradient: Callable[..., list[Any]] | None = None
        if backend.NAME != "tensorflow":
            self._gradient = differentiation.build_gradient(model, variables, self.value)

    def compile_once(self, key: Hashable, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a compiled function, the earlier one for the same key, loss and weights.

        A mask update in several steps computes the same curvature again and again, and tracing it
        takes longer than computing it. Traces are kept until the model changes.

        Args:
            key: identifies the function among those of the same loss and weights.
            function: a function of `(x, y, sample_weight)` and more tensors.
        """
        traces = compiled.traces(self.model)
        full_key = key, tuple(id(variable) for variable in self.variables)
        if full_key not in traces:
            traces[full_key] = backend.compile_function(function)
        return traces[full_key]

    def value(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        """Returns the loss of a batch: a scalar tensor."""
        return self.compute_loss(x, y, self.model(x, training=False), sample_weight)

    def compute_loss(self, x: Any, y: Any, outputs: Any, sample_weight: Any = None) -> Any:
        """Returns the loss of a batch with given outputs."""
        return self.model.compute_loss(x, y, outputs, sample_weight, training=False)

    def gradient(self, x: Any, y: Any, sample_weight: Any = None) -> list[Any]:
        """Returns the derivative of the loss of a batch by each weight, in its shape."""
        if self._gradient is not None:
            return self._gradient(x, y, sample_weight)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            loss = self.value(x, y, sample_weight)
        return differentiate(tape, loss, self.variables)

    @contextlib.contextmanager
    def preserve_metrics(self) -> Iterator[None]:
        """Restores the model's metrics after a block: losses of several outputs update them."""
        variables = [variable for metric in self.model.metrics for variable in metric.variables]
        values = [backend.copy(variable) for variable in variables]
        try:
            yield
        finally:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def map_batches(
        self, data: calibration.Calibration, function: Callable[..., T], what: str
    ) -> Iterator[tuple[calibration.Batch, T]]:
        """Yields each batch with the value of a function for it.

        Args:
            data: the calibration data.
            function: a function of `(x, y, sample_weight)`, compiled with `tf.function`.
            what: the text in front of the progress bar.
        """
        with self.preserve_metrics():
            yield from data.map(
                lambda batch: function(batch.x, batch.y, batch.sample_weight),
                f"{self.caller}: {what}",
            )

    def mean_loss(self, data: calibration.Calibration) -> float:
        """Returns the mean of the loss over all samples."""
        value = self.compile_once("value", self.value)
        return float(self.average(data, lambda *batch: [value(*batch)], "loss")[0])

    def average(
        self, data: calibration.Calibration, function: Callable[..., Any], what: str
    ) -> list[Array]:
        """Returns the mean of a function of batches, each in proportion to its samples.

        Args:
            data: the calibration data.
            function: a function of `(x, y, sample_weight)` to a list of tensors or arrays.
            what: the text in front of the progress bar.
        """
        totals: list[Array] = []
        samples = 0
        for batch, values in self.map_batches(data, function, what):
            arrays = [batch.size * backend.to_numpy(value).astype(np.float64) for value in values]
            totals = [a + b for a, b in zip(totals, arrays, strict=True)] if totals else arrays
            samples += batch.size
        return [total / samples for total in totals]


def differentiate(tape: Any, target: Any, variables: Sequence[Any], **kwargs: Any) -> Any:
    """Returns `tape.gradient`, zero for unconnected variables and dense for embeddings."""
    gradients = tape.gradient(target, variables, unconnected_gradients="zero", **kwargs)
    return [tf.convert_to_tensor(gradient) for gradient in gradients]
