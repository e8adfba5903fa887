"""Estimates the diagonal of the Hessian: exact, by sampling, or by an approximate matrix."""

import abc
import dataclasses
import math
from typing import Any

import numpy as np

from kprune import calibration
from kprune._keras import backend
from kprune._keras.tensorflow import tf
from kprune._second_order.hessian import factors, objective, products
from kprune._support import progress, registration, validation
from kprune._support.typing import Array


class DiagonalEstimator(registration.Member, abc.ABC):
    """Estimates the diagonal of a Hessian. Subclasses are frozen dataclasses."""

    @abc.abstractmethod
    def diagonal(self, loss: objective.Objective, data: calibration.Calibration) -> list[Array]:
        """Returns `d2L/dw2` of each weight, in its shape, float64.

        Args:
            loss: the compiled loss as a function of the weights.
            data: labelled calibration data; the loss is averaged over all samples.
        """


@registration.register
@dataclasses.dataclass(frozen=True)
class GaussNewton(DiagonalEstimator):
    """Computes the diagonal of the Gauss-Newton matrix: `h_k = mean_i sum_c (J_i^T l_ic)_k^2`.

    Use it first: it is never negative, and does not vanish when the network has learned its data.
    The cost is one backward pass for each sample and output; for models with more than 16 outputs
    16 passes for each sample.

    Args:
        seed: the seed of the signs with which the factors of more than 16 outputs are summed.

    Example:
        >>> kprune.prune(model, 0.5, kprune.criteria.OBD((x, y), estimator="gauss_newton"))

    Reference:
        LeCun, Denker and Solla, Optimal Brain Damage, 1990, on dropping the second derivative of
        the activation; Schraudolph, Fast Curvature Matrix-Vector Products, 2002.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        validation.require_whole(self.seed, "seed", minimum=0)

    def diagonal(self, loss: objective.Objective, data: calibration.Calibration) -> list[Array]:
        """Sums the squared factors of the samples."""
        return factors.Factors(loss, "gauss_newton", seed=self.seed).mean_squares(data)


@registration.register
@dataclasses.dataclass(frozen=True)
class EmpiricalFisher(DiagonalEstimator):
    """Computes the diagonal of the empirical Fisher matrix: `h_k = mean_i (dL_i/dw_k)^2`.

    Use it for models with very many outputs, such as language models: the cost is one backward pass
    for each sample. It tends to zero as the network learns its data and the gradients vanish.

    Example:
        >>> kprune.prune(model, 0.5, kprune.criteria.OBD((x, y), estimator="empirical_fisher"))

    Reference:
        Theis et al., Faster gaze prediction with dense networks and Fisher pruning, 2018.
    """

    def diagonal(self, loss: objective.Objective, data: calibration.Calibration) -> list[Array]:
        """Sums the squared gradients of the samples."""
        return factors.Factors(loss, "empirical_fisher").mean_squares(data)


@registration.register
@dataclasses.dataclass(frozen=True)
class Hutchinson(DiagonalEstimator):
    """Estimates the diagonal of the Hessian itself by random probes: `h = mean_v v * (H v)`.

    Use it if the true Hessian is needed and there are too many weights for `Exact`. Probes have
    entries of +1 and -1, so one probe is exact for a diagonal Hessian; in general the error of
    `h_k` has the standard deviation `sqrt(sum_{j != k} H_kj^2 / probes)`. Each probe costs about
    two gradients for each batch; it stops at the given error.

    Args:
        probes: the greatest number of probes, each a pass over the data.
        relative_error: the error of the diagonal, `|standard error| / |h|`, at which it stops.
        mode: the mode of the Hessian-vector product, "reverse_over_reverse" or
            "forward_over_reverse".
        seed: the seed of the probes.

    Raises:
        ValueError: fewer than one probe.

    Example:
        >>> hutchinson = kprune.criteria.Hutchinson(relative_error=0.2)
        >>> kprune.prune(model, 0.5, kprune.criteria.OBD((x, y), estimator=hutchinson))

    Reference:
        Bekas, Kokiopoulou and Saad, An estimator for the diagonal of a matrix, 2007.
    """

    probes: int = 256
    relative_error: float = 0.1
    mode: products.Mode = "reverse_over_reverse"
    seed: int = 0

    def __post_init__(self) -> None:
        validation.require_whole(self.probes, "probes", write=256)
        validation.require_number(self.relative_error, "relative_error", write=0.1)
        validation.require_choice(self.mode, "mode", products.MODES)
        validation.require_whole(self.seed, "seed", minimum=0)

    def diagonal(self, loss: objective.Objective, data: calibration.Calibration) -> list[Array]:
        """Averages probes until the error is small enough."""
        product = products.build_hessian_vector_product(loss, self.mode)
        generator = tf.random.Generator.from_seed(self.seed)

        @backend.compile_function
        def probe(x: Any, y: Any, sample_weight: Any) -> list[Any]:
            v = [
                tf.cast(2 * generator.uniform(w.shape, 0, 2, tf.int32) - 1, w.dtype)
                for w in loss.variables
            ]
            products_of_v = product(x, y, sample_weight, v)
            return [tf.cast(a * b, tf.float64) for a, b in zip(v, products_of_v, strict=True)]

        means = [np.zeros(variable.shape) for variable in loss.variables]
        squares = [np.zeros(variable.shape) for variable in loss.variables]  # of the deviations
        for number in range(1, self.probes + 1):
            values = loss.average(data, probe, f"probe {number} of up to {self.probes}")
            for mean, square, value in zip(means, squares, values, strict=True):
                deviation = value - mean
                mean += deviation / number  # Welford's running mean and sum of squares
                square += deviation * (value - mean)
            if number > 1:
                error = sum(float(square.sum()) for square in squares) / (number - 1) / number
                size = sum(float(np.square(mean).sum()) for mean in means)
                if error <= self.relative_error**2 * size:
                    break
        return means


@registration.register
@dataclasses.dataclass(frozen=True)
class Exact(DiagonalEstimator):
    """Computes the diagonal of the Hessian itself: `h_k = e_k^T H e_k`.

    Use it for small models and to check the others. The cost is one Hessian-vector product for
    each weight and batch: seconds for thousands of weights, hours for millions.

    Args:
        chunk: how many weights are computed in one compiled loop.
        mode: the mode of the Hessian-vector product, "reverse_over_reverse" or
            "forward_over_reverse".

    Raises:
        ValueError: a chunk of fewer than one.

    Example:
        >>> kprune.prune(model, 0.5, kprune.criteria.OBD((x, y), estimator="exact"))
    """

    chunk: int = 1024
    mode: products.Mode = "reverse_over_reverse"

    def __post_init__(self) -> None:
        validation.require_whole(self.chunk, "chunk", write=1024)
        validation.require_choice(self.mode, "mode", products.MODES)

    def diagonal(self, loss: objective.Objective, data: calibration.Calibration) -> list[Array]:
        """Multiplies the Hessian by each unit vector, a chunk of them at a time."""
        product = products.build_hessian_vector_product(loss, self.mode)
        sizes = [math.prod(variable.shape) for variable in loss.variables]
        number, dtype = sum(sizes), loss.variables[0].dtype

        @backend.compile_function
        def entries(x: Any, y: Any, sample_weight: Any, places: Any) -> Any:
            def entry(k: Any) -> Any:
                pieces = tf.split(tf.one_hot(k, number, dtype=dtype), sizes)
                unit = [tf.reshape(u, w.shape) for u, w in zip(pieces, loss.variables, strict=True)]
                column = product(x, y, sample_weight, unit)
                return sum(tf.reduce_sum(a * b) for a, b in zip(unit, column, strict=True))

            return tf.map_fn(entry, places, fn_output_signature=dtype)

        def compute_diagonal(x: Any, y: Any, sample_weight: Any) -> list[Array]:
            chunks = np.split(np.arange(number), range(self.chunk, number, self.chunk))
            tracked = progress.track(chunks, f"{loss.caller}: {number:,} weights", len(chunks))
            values = [np.asarray(entries(x, y, sample_weight, places)) for places in tracked]
            return np.split(np.concatenate(values).astype(np.float64), np.cumsum(sizes)[:-1])

        flat = loss.average(data, compute_diagonal, "exact diagonal")
        return [values.reshape(w.shape) for values, w in zip(flat, loss.variables, strict=True)]
