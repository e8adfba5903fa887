"""Computes factors of the curvature: vectors `r` whose sum of `r r^T` is the curvature.

The empirical Fisher matrix has one factor for each sample, the gradient of its loss. The
Gauss-Newton matrix `J^T H_z J`, J the derivative of the outputs z by the weights and H_z the
Hessian of the loss by the outputs, has one for each output: `r_c = J^T l_c` with
`H_z = sum_c l_c l_c^T`. It is the Hessian without the curvature of the network itself, never
negative, and unlike the gradients it does not vanish when the network has learned its data.

Samples are computed one after another in one compiled loop, so it takes the memory of one sample.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import keras
import numpy as np

from kprune import calibration
from kprune._keras import private
from kprune._keras.tensorflow import tf
from kprune._second_order.hessian import objective
from kprune._support.typing import Array

Kind: TypeAlias = Literal["gauss_newton", "empirical_fisher"]

MAX_ROW_VALUES = 1 << 26  # how many values of factors are computed at once
MAX_OUTPUTS = 512  # how many outputs may have their Hessian decomposed, for each sample


class Factors:
    """Computes the factors of a model's curvature over calibration data.

    Args:
        loss: the compiled loss as a function of the weights.
        kind: "gauss_newton" or "empirical_fisher".
        exact: the greatest number of outputs for which each output has its own factor.
        draws: how many random sums of factors each sample has if there are more outputs. The
            expected value of their outer products is the curvature.
        seed: the seed of the signs in these sums.

    Raises:
        ValueError: the kind is unknown; at the first batch, if there are too many outputs.
    """

    def __init__(
        self,
        loss: objective.Objective,
        kind: Kind = "gauss_newton",
        exact: int = 16,
        draws: int = 16,
        seed: int = 0,
    ) -> None:
        if kind not in ("gauss_newton", "empirical_fisher"):
            raise ValueError(
                f'fisher={kind!r}; expected "gauss_newton" or "empirical_fisher". '
                'Write fisher="gauss_newton".'
            )
        self.loss, self.kind = loss, kind
        self.exact, self.draws, self.seed = exact, draws, seed

    def rows(self, data: calibration.Calibration) -> Iterator[tuple[calibration.Batch, Array]]:
        """Yields batches with their factors as rows [samples, factors, weights].

        The weights are flattened one after another. The curvature of all data is
        `sum r r^T / n`, n the number of samples.
        """

        def stack(x: Any, y: Any, sample_weight: Any) -> Any:
            def flatten(sample: Any) -> Any:
                factors = self._factors_of_sample(*sample)
                rows = [tf.reshape(factor, (factor.shape[0], -1)) for factor in factors]
                return tf.concat(rows, 1)

            dtype = self.loss.variables[0].dtype
            samples = _pack_samples(x, y, sample_weight)
            return tf.map_fn(flatten, samples, fn_output_signature=dtype)

        traced = self._compile_once("rows", stack)
        size = sum(math.prod(variable.shape) for variable in self.loss.variables)
        small = dataclasses.replace(data, max_batch_size=max(1, MAX_ROW_VALUES // size))
        for batch, rows in self.loss.map_batches(small, traced, "factors of the curvature"):
            yield batch, np.asarray(rows)

    def mean_squares(self, data: calibration.Calibration) -> list[Array]:
        """Returns the diagonal of the curvature: the mean of the squared factors, float64."""

        def sum_squares(x: Any, y: Any, sample_weight: Any) -> Any:
            def add(totals: Any, sample: Any) -> Any:
                factors = self._factors_of_sample(*sample)
                return [
                    total + tf.reduce_sum(tf.cast(factor, tf.float64) ** 2, 0)
                    for total, factor in zip(totals, factors, strict=True)
                ]

            zeros = [tf.zeros(variable.shape, tf.float64) for variable in self.loss.variables]
            return tf.foldl(add, _pack_samples(x, y, sample_weight), zeros)

        traced = self._compile_once("squares", sum_squares)

        def compute_mean(*batch: Any) -> list[Any]:
            return [total / len(keras.tree.flatten(batch[0])[0]) for total in traced(*batch)]

        return self.loss.average(data, compute_mean, "diagonal of the curvature")

    def _compile_once(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.loss.compile_once(
            (what, self.kind, self.exact, self.draws, self.seed), function
        )

    def _factors_of_sample(
        self, index: Any, x: Any, y: Any, sample_weight: Any = None
    ) -> list[Any]:
        """Returns the factors of one sample, for each weight a tensor [factors, *shape]."""
        x, y = keras.tree.map_structure(lambda array: array[None], (x, y))
        if self.kind == "empirical_fisher":
            return self._gradient(x, y, sample_weight)
        return self._gauss_newton(x, y, sample_weight, index)

    def _gradient(self, x: Any, y: Any, sample_weight: Any) -> list[Any]:
        root: Any = 1.0
        if sample_weight is not None and sample_weight.shape.rank == 0:
            # A sample of weight two counts as two, so its factor is multiplied by the root of two.
            root, sample_weight = tf.sqrt(sample_weight), None
        weights = None if sample_weight is None else sample_weight[None]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.loss.variables)
            loss = self.loss.value(x, y, weights)
            # The losses that layers add belong to no sample, and change every gradient alike.
            for added in self.loss.model.losses:
                loss -= tf.cast(added, loss.dtype)
        gradients = objective.differentiate(tape, loss, self.loss.variables)
        return [(tf.cast(root, gradient.dtype) * gradient)[None] for gradient in gradients]

    def _gauss_newton(self, x: Any, y: Any, sample_weight: Any, index: Any) -> list[Any]:
        weights = None if sample_weight is None else sample_weight[None]
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as outer:
            outer.watch(self.loss.variables)
            outputs = self.loss.model(x, training=False)
            starts = [
                tensor
                for output in keras.tree.flatten(outputs)
                for tensor in find_loss_inputs(output)
            ]
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(starts)
                loss = self.loss.compute_loss(x, y, outputs, weights)
            slopes = inner.gradient(loss, starts)
            used = [
                (tensor, slope)
                for tensor, slope in zip(starts, slopes, strict=True)
                if slope is not None
            ]
            z, slope = (
                tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
                for tensors in zip(*used, strict=True)
            )
        number = z.shape[0]  # how many outputs there are
        if number is None or number > MAX_OUTPUTS:
            raise ValueError(
                f"a sample has {number or 'an unknown number of'} outputs; the Gauss-Newton matrix "
                f'is built for up to {MAX_OUTPUTS}. Write "empirical_fisher" in place of '
                '"gauss_newton".'
            )
        used_inputs = [tensor for tensor, _ in used]
        columns = outer.jacobian(
            slope, used_inputs, unconnected_gradients="zero", experimental_use_pfor=False
        )
        hessian = tf.concat([tf.reshape(column, (number, -1)) for column in columns], 1)
        if hessian.dtype.size < 4:  # there is no decomposition in half precision
            hessian = tf.cast(hessian, tf.float32)
        eigenvalues, vectors = tf.linalg.eigh((hessian + tf.transpose(hessian)) / 2)
        root = vectors * tf.sqrt(tf.maximum(eigenvalues, 0))  # [output, factor]
        if number > self.exact:  # with random signs, mixed products cancel in the mean
            shape = (number, self.draws)
            signs = tf.random.stateless_uniform(shape, (self.seed, index), 0, 2, tf.int32)
            root = root @ tf.cast(2 * signs - 1, root.dtype) / self.draws**0.5
        root = tf.cast(root, z.dtype)
        factors = [
            objective.differentiate(outer, z, self.loss.variables, output_gradients=root[:, c])
            for c in range(root.shape[1])
        ]
        return [tf.stack(rows) for rows in zip(*factors, strict=True)]


def find_loss_inputs(output: Any) -> list[Any]:
    """Returns the tensors that a loss may start from: an output, and the logits behind it."""
    logits = private.logits(output)
    if logits is None and output.op.type in ("Softmax", "Sigmoid"):
        logits = output.op.inputs[0]
    return [output] if logits is None else [output, logits]


def _pack_samples(x: Any, y: Any, sample_weight: Any) -> Any:
    """Packs what a loop over samples takes: their indices in the batch, x, y and weights."""
    numbers = tf.range(tf.shape(keras.tree.flatten(x)[0])[0])
    return (numbers, x, y) if sample_weight is None else (numbers, x, y, sample_weight)
