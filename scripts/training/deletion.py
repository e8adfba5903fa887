"""Deletes the weights of a network one by one while its accuracies stay high enough."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

import kprune
from data.monks import Problem, Robots, network
from training.levenberg_marquardt import Objective

Array = np.ndarray[Any, Any]
Weights = list[kprune.criteria.Weight]

CRITERIA = ("OBS", "OBD", "magnitude")
DAMPING = 1e-3  # of OBS; 1e-2 leaves fewer weights without retraining, and more with it
RETRAINED_DECAY = 1 / 3  # of the decay in training: few weights have to be larger to do the same


@dataclasses.dataclass(frozen=True)
class Left:
    """The number of weights and the accuracies of a pruned network.

    Args:
        weights: how many are left, biases counted.
        train: accuracy on the training file, in per cent.
        test: accuracy on the test file, in per cent.
    """

    weights: int
    train: float
    test: float


class Deletion:
    """Trains a network, and deletes its weights by one criterion or another.

    Each deletion begins with the trained network.

    Args:
        problem: whose accuracies in the paper have to be kept.
        robots: its data.
        seed: of the initial weights.
        training_steps: steps of training at most.
        retraining_steps: steps of training at most after each deletion.
    """

    def __init__(
        self,
        problem: Problem,
        robots: Robots,
        seed: int,
        training_steps: int = 300,
        retraining_steps: int = 60,
    ) -> None:
        self.problem, self.robots, self.steps = problem, robots, retraining_steps
        x, y = (each.astype(np.float64) for each in robots.train)
        self.model = network(problem.hidden, seed)
        start = flat(self.model.get_weights()).astype(np.float64)
        objective = Objective(x, y[:, 0], problem.decay)
        self.trained = objective.minimum(start, np.ones(len(start), bool), training_steps)
        self.objective = dataclasses.replace(objective, decay=RETRAINED_DECAY * problem.decay)

    def dense(self) -> Left:
        """Returns the network as it was trained."""
        return self._left(self.wrapped())

    def is_good(self, left: Left) -> bool:
        """Whether both accuracies are the paper's or higher, to the digits that it prints."""
        problem = self.problem
        trained, tested = round(left.train, 1), round(left.test, 1)
        return trained >= problem.paper_train and tested >= problem.paper_test

    def delete(self, name: str, retrain: bool) -> Left:
        """Deletes weights by a criterion from the network as it was trained."""
        return self.with_retraining(name) if retrain else self.without_retraining(name)

    def without_retraining(self, name: str) -> Left:
        """Deletes weights with `kprune.prune`, one more each time, while the network is good."""
        criterion, members = self.criterion(name), self.wrapped()
        left = self._left(members)
        for gone in range(1, left.weights):
            kprune.prune(self.model, gone / len(self.trained), criterion)
            found = self._left(members)
            if not self.is_good(found):
                break
            left = found
        return left

    def with_retraining(self, name: str) -> Left:
        """Deletes weights and retrains the others, until no weight can be deleted.

        The candidates are tried in the order of their scores. The first without which the
        retrained network is accurate enough is deleted for good.
        """
        criterion, members = self.criterion(name), self.wrapped()
        while True:
            for keep, values in self._candidates(criterion, members):
                retrained = self.objective.minimum(values, keep, self.steps)
                # Rounded as in the model: an output near one half may change its class.
                retrained = retrained.astype(np.float32).astype(np.float64)
                if self.is_good(self._of(retrained, keep)):
                    self._write(members, keep, retrained)
                    break
            else:
                return self._left(members)

    def criterion(self, name: str) -> kprune.criteria.Criterion:
        """Returns one of the criteria by its name."""
        size = len(self.robots.train[0])  # one batch
        if name == "OBS":
            return kprune.criteria.OBS(
                self.robots.train, hessian="full", damping=DAMPING, batch_size=size
            )
        if name == "OBD":
            return kprune.criteria.OBD(self.robots.train, batch_size=size)
        return kprune.criteria.get(name)

    def wrapped(self) -> Weights:
        """Puts the trained weights into the model, with new masks over all of them."""
        kprune.strip(self.model)
        self.model.set_weights(shaped(self.trained, self.model.weights))
        kprune.wrap(self.model, include=self.model.trainable_variables)  # biases too
        return kprune.masked_weights(self.model)

    def _candidates(
        self, criterion: kprune.criteria.Criterion, members: Weights
    ) -> Iterator[tuple[Array, Array]]:
        """Yields masks with one weight fewer, and values of the others, by increasing score."""
        alive, values = flat(each.alive() for each in members), flat(w.values() for w in members)
        sparsity = (np.count_nonzero(~alive) + 1) / alive.size
        evidence = criterion.observe(self.model, members, kprune.criteria.Stage(float(sparsity)))
        scores = flat(np.asarray(criterion.score(each, evidence)) for each in members)
        for place in np.argsort(np.where(alive, scores, np.inf), kind="stable")[: sum(alive)]:
            keep = alive.copy()
            keep[place] = False
            variables = [each.variable for each in members]
            moved = criterion.compensate(members, shaped(keep, variables), evidence)
            yield keep, flat(moved[each] for each in members) if moved else values * keep

    def _write(self, members: Weights, keep: Array, values: Array) -> None:
        variables = [each.variable for each in members]
        pieces = shaped(keep, variables), shaped(values, variables)
        for weight, mask, value in zip(members, *pieces, strict=True):
            weight.write(mask, value)

    def _left(self, members: Weights) -> Left:
        """Returns the number of weights and the accuracies of the Keras model."""
        train, test = (accuracy(self.model(x), y) for x, y in (self.robots.train, self.robots.test))
        return Left(sum(each.kept() for each in members), train, test)

    def _of(self, values: Array, keep: Array) -> Left:
        """Returns the number of weights and the accuracies that other values would have."""
        train, test = (
            accuracy(self.objective.outputs(values, x)[:, None], y)
            for x, y in (self.robots.train, self.robots.test)
        )
        return Left(int(np.count_nonzero(keep)), train, test)


def accuracy(outputs: Any, labels: Array) -> float:
    """Returns how many outputs are on the side of one half of their label, in per cent."""
    return 100 * float(np.mean((np.asarray(outputs) > 0.5) == (labels > 0.5)))


def flat(arrays: Any) -> Array:
    """Returns arrays as one vector."""
    return np.concatenate([np.asarray(each).reshape(-1) for each in arrays])


def shaped(vector: Array, variables: list[keras.Variable]) -> list[Array]:
    """Returns the pieces of a vector in the shapes of variables."""
    ends = np.cumsum([np.prod(each.shape, dtype=int) for each in variables])
    pieces = np.split(vector, ends[:-1])
    return [p.reshape(v.shape) for p, v in zip(pieces, variables, strict=True)]
