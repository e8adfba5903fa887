"""Schedules: how much is zero at which step, and when to look.

A schedule is a function of the step, and a grid of steps at which the masks are made anew:
`begin_step`, then every `frequency` steps, then `end_step` whether the grid meets it or not. So a
schedule always lands, whatever steps a training loop happens to see.

A step is an update of the optimizer (`optimizer.iterations`). Where an argument is a float it is
a fraction of the fit, in [0, 1]; `resolve` turns fractions into steps once the fit's length is
known.
"""

import abc
import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, Self

import keras

from kprune import registration

Step = int | float  # an int is a step, a float a fraction of the fit


class Grid(registration.Member):
    """Steps at which something is done. Subclasses are frozen dataclasses.

    A subclass has the fields or properties `begin_step`, `end_step` and `frequency`.
    """

    begin_step: Step
    end_step: Step
    frequency: Step

    def resolve(self, steps: int | None, origin: int = 0) -> Self:
        """Returns this grid with every fraction of the fit turned into a step.

        Args:
            steps: updates that the fit makes; `None` where it is not known.
            origin: the update at which the fit starts.

        Raises:
            ValueError: there is a fraction, but no length to take it of; or the end, once known,
                precedes the begin.

        Example:
            >>> PolynomialDecay(0.0, 0.9, begin_step=0.1, end_step=0.5).resolve(1000).end_step
            500
        """
        changes = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name in ("begin_step", "end_step", "frequency") and isinstance(value, float):
                if steps is None:
                    raise ValueError(
                        f"{field.name}={value} is a fraction of the fit, and the fit's length is "
                        "not known. Give steps as whole numbers, or write "
                        "model.fit(..., steps_per_epoch=...)."
                    )
                whole = round(value * steps)
                changes[field.name] = max(1, whole) if field.name == "frequency" else origin + whole
        return dataclasses.replace(self, **changes) if changes else self  # type: ignore[type-var]

    def grid(self, step: int) -> int | None:
        """Returns the last step up to `step` at which masks are made; `None` before the first."""
        begin, end, frequency = int(self.begin_step), int(self.end_step), int(self.frequency)
        if step < begin:
            return None
        return end if step >= end else begin + (step - begin) // frequency * frequency

    def after(self, step: int) -> float:
        """Returns the first step after `step` at which masks are made; infinity after the last."""
        begin, end, frequency = int(self.begin_step), int(self.end_step), int(self.frequency)
        if step < begin:
            return begin
        if step >= end:
            return math.inf
        return min(end, begin + ((step - begin) // frequency + 1) * frequency)

    @property
    def is_resolved(self) -> bool:
        """Whether every argument is a step."""
        return not any(
            isinstance(value, float) for value in (self.begin_step, self.end_step, self.frequency)
        )

    def _check(self) -> None:
        for name in ("begin_step", "end_step", "frequency"):
            value = getattr(self, name)
            if isinstance(value, float) and not 0 <= value <= 1:
                raise ValueError(
                    f"{name}={value}: a float is a fraction of the fit and lies in [0, 1]; a step "
                    f"is a whole number. Write {name}={max(0, int(value))}."
                )
            if not isinstance(value, (numbers.Integral, float)) or isinstance(value, bool):
                raise TypeError(
                    f"{name}={value!r} is a {type(value).__name__}; expected a step, such as 1000, "
                    "or a fraction of the fit, such as 0.5."
                )
            least = int(name == "frequency" and not isinstance(value, float))
            if value < least:
                raise ValueError(
                    f"{name}={value}; expected at least {least}. Write {name}={max(least, 100)}."
                )
        if type(self.begin_step) is type(self.end_step) and self.end_step < self.begin_step:
            raise ValueError(
                f"end_step={self.end_step} precedes begin_step={self.begin_step}; a schedule ends "
                f"at its begin or after it. Write begin_step={self.end_step}, "
                f"end_step={self.begin_step}."
            )


class Schedule(Grid, abc.ABC):
    """A function from step to sparsity. Subclasses are frozen dataclasses.

    A subclass implements `__call__` for steps from `begin_step` to `end_step`.
    """

    @abc.abstractmethod
    def __call__(self, step: int) -> float:
        """Returns the sparsity at a step."""


@registration.register
@dataclasses.dataclass(frozen=True)
class Interval(Grid):
    """From one step to another, every so often: when something is done that sets no sparsity.

    Args:
        begin_step: first step; a float is a fraction of the fit.
        end_step: last step, in the same terms.
        frequency: steps from one to the next.

    Example:
        >>> Interval(100, 500, 150).after(420)
        500
    """

    begin_step: Step = 0.0
    end_step: Step = 1.0
    frequency: Step = 100

    def __post_init__(self) -> None:
        self._check()


@registration.register
@dataclasses.dataclass(frozen=True)
class Constant(Schedule):
    """The whole sparsity at one step.

    Use it to prune once and retrain: `s(t) = final_sparsity` from `begin_step` on.

    Args:
        final_sparsity: fraction of zeros, in [0, 1).
        begin_step: when to prune; a float is a fraction of the fit.

    Example:
        >>> Constant(0.5)(0)
        0.5
    """

    final_sparsity: float
    begin_step: Step = 0

    def __post_init__(self) -> None:
        registration.sparsity(self.final_sparsity, "final_sparsity")
        self._check()

    @property
    def end_step(self) -> Step:  # type: ignore[override]
        """The begin is the end."""
        return self.begin_step

    @property
    def frequency(self) -> int:  # type: ignore[override]
        """Nothing changes after the begin."""
        return 1

    def __call__(self, step: int) -> float:
        """Returns the sparsity at a step."""
        return self.final_sparsity


@registration.register
@dataclasses.dataclass(frozen=True)
class PolynomialDecay(Schedule):
    """A steep rise that levels off.

    Use it for gradual pruning in one training run: much is cut while much is redundant, and the
    network has time to recover from the last cuts.

    `s(t) = final + (initial - final) * (1 - (t - begin) / (end - begin)) ** power`

    Args:
        initial_sparsity: fraction of zeros at `begin_step`, in [0, 1).
        final_sparsity: fraction of zeros from `end_step` on, in [0, 1).
        begin_step: first step of the ramp; a float is a fraction of the fit.
        end_step: last step of the ramp. The default leaves a quarter of the fit to fine-tuning.
        power: exponent of the ramp, greater than 0.
        frequency: steps from one update of the masks to the next.

    Raises:
        ValueError: a sparsity outside [0, 1), an end before the begin, a frequency below 1.

    Example:
        >>> round(PolynomialDecay(0.0, 0.8, 1000, 2000)(1250), 4)
        0.4625

    Reference:
        Zhu and Gupta, To prune, or not to prune, 2017.
    """

    initial_sparsity: float
    final_sparsity: float
    begin_step: Step = 0
    end_step: Step = 0.75
    power: float = 3
    frequency: Step = 100

    def __post_init__(self) -> None:
        registration.sparsity(self.initial_sparsity, "initial_sparsity")
        registration.sparsity(self.final_sparsity, "final_sparsity")
        if not self.power > 0:
            raise ValueError(f"power={self.power}; expected more than 0. Write power=3.")
        self._check()

    def __call__(self, step: int) -> float:
        """Returns the sparsity at a step."""
        if step >= self.end_step:
            return self.final_sparsity
        left = 1 - max(0.0, (step - self.begin_step) / (self.end_step - self.begin_step))
        rise = self.initial_sparsity - self.final_sparsity
        return self.final_sparsity + rise * left**self.power


@registration.register
@dataclasses.dataclass(frozen=True)
class Iterative(Schedule):
    """From X to Y in equal steps, with retraining between them.

    Use it for iterative magnitude pruning of a pre-trained model.

    `s(t) = X + (Y - X) * min(steps, (t - begin) // frequency) / steps`

    Args:
        initial_sparsity: X, fraction of zeros at `begin_step`, in [0, 1).
        final_sparsity: Y, fraction of zeros after the last step, in [0, 1).
        steps: how many times the sparsity rises from X to Y.
        frequency: updates of the optimizer between two rises; a float is a fraction of the fit.
        begin_step: when X is pruned; a float is a fraction of the fit.

    Raises:
        ValueError: a sparsity outside [0, 1), or fewer than one step.

    Example:
        >>> round(Iterative(0.3, 0.9)(5005), 4)
        0.6333

    Reference:
        Cheong and Daniel, transformers.zip: Compressing Transformers with Pruning and
        Quantization, 2019.
    """

    initial_sparsity: float
    final_sparsity: float
    steps: int = 9
    frequency: Step = 1001
    begin_step: Step = 0

    def __post_init__(self) -> None:
        registration.sparsity(self.initial_sparsity, "initial_sparsity")
        registration.sparsity(self.final_sparsity, "final_sparsity")
        if not isinstance(self.steps, numbers.Integral) or self.steps < 1:
            raise ValueError(
                f"steps={self.steps!r}; expected a whole number, at least 1. Write steps=9."
            )
        self._check()

    @property
    def end_step(self) -> Step:  # type: ignore[override]
        """The step of the last rise."""
        if isinstance(self.frequency, float) or isinstance(self.begin_step, float):
            return 1.0
        return self.begin_step + self.steps * self.frequency

    def __call__(self, step: int) -> float:
        """Returns the sparsity at a step."""
        rises = min(self.steps, (step - self.begin_step) // self.frequency)
        part = max(0, rises) / self.steps
        return self.initial_sparsity + (self.final_sparsity - self.initial_sparsity) * part


@registration.register
@dataclasses.dataclass(frozen=True)
class Function(Schedule):
    """Any function from step to sparsity.

    Use it where no other schedule fits; a plain callable given as a schedule becomes one.

    Args:
        function: maps a step to a sparsity in [0, 1).
        begin_step: first step at which it is asked; a float is a fraction of the fit.
        end_step: last step at which it is asked, and certainly asked.
        frequency: steps from one question to the next.

    Example:
        >>> Function(lambda step: min(0.8, step / 1000))(400)
        0.4
    """

    function: Callable[[int], float]
    begin_step: Step = 0
    end_step: Step = 1.0
    frequency: Step = 100

    def __post_init__(self) -> None:
        self._check()

    def __call__(self, step: int) -> float:
        """Returns the function's value, checked."""
        value = self.function(step)
        return registration.sparsity(float(value), f"the schedule's value at step {step}")


def get(identifier: Any) -> Schedule:
    """Returns the schedule that a schedule, a config or a callable stands for.

    A schedule of `tensorflow_model_optimization` becomes the one here of the same formula; the
    package itself is not imported.
    """
    if isinstance(identifier, Schedule):
        return identifier
    if type(identifier).__module__.startswith("tensorflow_model_optimization"):
        return _from_tfmot(identifier)
    if callable(identifier):
        return Function(identifier)
    if isinstance(identifier, Mapping) and "class_name" in identifier:
        return get(keras.saving.deserialize_keras_object(dict(identifier)))
    final = identifier if isinstance(identifier, (int, float)) else 0.9
    raise TypeError(
        f"schedule={identifier!r} is a {type(identifier).__name__}; expected a schedule, or a "
        "function from step to sparsity. "
        f"Write kprune.schedules.PolynomialDecay(0.0, {final}), which also has a begin and an end."
    )


def _from_tfmot(schedule: Any) -> Schedule:
    """Translates a schedule of the older toolkit, whose call returns (whether, how much)."""
    begin, end, frequency = schedule.begin_step, schedule.end_step, schedule.frequency
    if type(schedule).__name__ == "ConstantSparsity":
        return Constant(schedule.target_sparsity, begin)
    if type(schedule).__name__ == "PolynomialDecay":
        return PolynomialDecay(
            schedule.initial_sparsity,
            schedule.final_sparsity,
            begin,
            end,
            schedule.power,
            frequency,
        )
    end = end if end >= begin else 1.0  # -1 stands for "never" there
    return Function(lambda step: float(schedule(step)[1]), begin, end, frequency)
