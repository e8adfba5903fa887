"""Trains small networks, pruned ones too, by the method of Levenberg and Marquardt.

Backpropagation with weight decay lowers `mean (o - t)^2 + decay * |w|^2`. The same minimum is found
here from the Jacobian of the outputs, in some dozens of steps of a millisecond, which makes it
possible to retrain after each trial of a deletion.
"""

import dataclasses
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

PATIENT = 1e-9  # the relative gain of a step at which training ends
STIFFEST = 1e8  # the damping at which no step is small enough to gain anything


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """What the training of a network of one hidden layer minimizes, as a function of its weights.

    The weights are one vector: the kernel [inputs, hidden], the biases [hidden], the kernel
    [hidden, 1] and the bias [1], flattened one after another, as a Keras model has them. All units
    are sigmoid.

    Args:
        x: inputs [n, inputs], float64.
        y: targets [n], float64.
        decay: of the weights.
    """

    x: Array
    y: Array
    decay: float

    def outputs(self, weights: Array, x: Array | None = None) -> Array:
        """Returns the outputs [n], for other inputs where they are given."""
        return self._forward(weights, self.x if x is None else x)[1]

    def jacobian(self, weights: Array) -> tuple[Array, Array]:
        """Returns the outputs [n], and their derivatives by each weight [n, weights]."""
        hidden, outputs = self._forward(weights, self.x)
        by_sum = outputs * (1 - outputs)
        second = weights[-hidden.shape[1] - 1 : -1]
        by_hidden = by_sum[:, None] * second * hidden * (1 - hidden)
        by_kernel = self.x[:, :, None] * by_hidden[:, None, :]
        by_second = by_sum[:, None] * hidden
        parts = by_kernel.reshape(len(self.x), -1), by_hidden, by_second, by_sum[:, None]
        return outputs, np.concatenate(parts, 1)

    def value(self, weights: Array) -> float:
        """Returns the mean squared error and the decay."""
        error = self.outputs(weights) - self.y
        return float(error @ error / len(error) + self.decay * weights @ weights)

    def minimum(self, weights: Array, alive: Array, steps: int) -> Array:
        """Returns the weights at a minimum near those given.

        Each step solves `(J^T J / n + (decay + damping) I) d = gradient / 2`, J with the columns of
        the survivors; the damping falls after a step that gained and rises until one gains.

        Args:
            weights: where to begin.
            alive: false for weights that are zero and stay it.
            steps: at most so many.
        """
        weights = np.where(alive, weights, 0)
        here = np.flatnonzero(alive)
        value, damping = self.value(weights), 1e-2
        for _ in range(steps):
            outputs, jacobian = self.jacobian(weights)
            jacobian = jacobian[:, here]
            slope = jacobian.T @ (outputs - self.y) / len(self.y) + self.decay * weights[here]
            hessian = jacobian.T @ jacobian / len(self.y) + self.decay * np.eye(len(here))
            while True:
                trial = weights.copy()
                trial[here] -= np.linalg.solve(hessian + damping * np.eye(len(here)), slope)
                found = self.value(trial)
                if found < value:
                    break
                damping *= 4
                if damping > STIFFEST:
                    return weights
            gain, weights, value = value - found, trial, found
            if gain < PATIENT * value:
                break
            damping = max(damping / 5, 1e-12)
        return weights

    @staticmethod
    def _forward(weights: Array, x: Array) -> tuple[Array, Array]:
        inputs = x.shape[1]
        units = (len(weights) - 1) // (inputs + 2)
        kernel, bias, second = np.split(weights[:-1], [inputs * units, (inputs + 1) * units])
        hidden = _sigmoid(x @ kernel.reshape(inputs, units) + bias)
        return hidden, _sigmoid(hidden @ second + weights[-1])


def _sigmoid(sums: Array) -> Array:
    return (1 + np.tanh(sums / 2)) / 2  # does not overflow
