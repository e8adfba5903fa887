"""How to train on after a cut: shorter, slower, and simpler than before."""

import dataclasses
from typing import Self

import keras


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Epochs and a learning rate that is halved at a fixed interval.

    Use it to retrain the survivors from where the cut left them. A pruned model that starts at the
    dense training's first rate unlearns; one that takes part of its epochs and rate does not.

    `eta(t) = learning_rate * 2 ** -floor(t / (halve_every * steps_per_epoch))`

    Args:
        epochs: how many.
        learning_rate: at the begin.
        halve_every: epochs from one halving to the next.

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
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(
                    f"{field.name}={value}; expected more than 0. Write Recipe(epochs=4, "
                    "learning_rate=0.5, halve_every=2)."
                )

    def lowered(self, epochs: float = 1 / 3, learning_rate: float = 1 / 2) -> Self:
        """Returns the recipe with fewer epochs and a lower rate.

        Args:
            epochs: the part of the epochs to take, at least one of them.
            learning_rate: the part of the rate.
        """
        return dataclasses.replace(
            self,
            epochs=max(1, round(epochs * self.epochs)),
            learning_rate=learning_rate * self.learning_rate,
        )

    def schedule(self, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
        """Returns the learning rates, for an optimizer that counts its steps from zero."""
        steps = max(1, round(self.halve_every * steps_per_epoch))
        return keras.optimizers.schedules.ExponentialDecay(
            self.learning_rate, steps, decay_rate=0.5, staircase=True
        )
