"""Plans the retraining of a pruned model: how many epochs, at which learning rates."""

import dataclasses
from typing import Self

import keras

from kprune._support import signatures, validation

__all__ = ["Recipe"]


@signatures.explain_constructor
@dataclasses.dataclass(frozen=True)
class Recipe:
    """Holds the number of epochs and a learning rate that is halved at a fixed interval.

    Use it to retrain the survivors after a mask update. At the first learning rate of the dense
    training a pruned model loses what it has learned; at a part of it, for a part of the epochs, it
    does not.

    `eta(t) = learning_rate * 2 ** -floor(t / (halve_every * steps_per_epoch))`

    Args:
        epochs: the number of epochs, above 0.
        learning_rate: the first learning rate, above 0.
        halve_every: the number of epochs from one halving to the next, above 0.

    Raises:
        ValueError: an argument that is not above zero.

    Example:
        >>> recipe = Recipe(epochs=12, learning_rate=1.0).lowered()
        >>> recipe
        Recipe(epochs=4, learning_rate=0.5, halve_every=2)
        >>> float(recipe.schedule(steps_per_epoch=100)(250))
        0.25

    Reference:
        See, Luong and Manning, Compression of Neural Machine Translation Models via Pruning, 2016.
    """

    epochs: int
    learning_rate: float
    halve_every: float = 2

    def __post_init__(self) -> None:
        validation.require_whole(self.epochs, "epochs", write=4)
        validation.require_number(self.learning_rate, "learning_rate", write=0.5, above=True)
        validation.require_number(self.halve_every, "halve_every", write=2, above=True)

    def lowered(self, epochs: float = 1 / 3, learning_rate: float = 1 / 2) -> Self:
        """Returns the recipe with fewer epochs and a lower learning rate.

        Args:
            epochs: the factor of the epochs; at least one epoch is left.
            learning_rate: the factor of the learning rate.

        Raises:
            ValueError: a factor is not above zero.
        """
        validation.require_number(epochs, "epochs", write="1 / 3", above=True)
        validation.require_number(learning_rate, "learning_rate", write="1 / 2", above=True)
        return dataclasses.replace(
            self,
            epochs=max(1, round(epochs * self.epochs)),
            learning_rate=learning_rate * self.learning_rate,
        )

    def schedule(self, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
        """Returns a learning rate schedule, for an optimizer whose steps count from zero."""
        validation.require_whole(steps_per_epoch, "steps_per_epoch", write=1000)
        steps = max(1, round(self.halve_every * steps_per_epoch))
        return keras.optimizers.schedules.ExponentialDecay(
            self.learning_rate, steps, decay_rate=0.5, staircase=True
        )
