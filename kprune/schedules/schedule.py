"""Computes the sparsity at every step of a training, one formula a class."""

import abc
import dataclasses
import numbers
from collections.abc import Callable

from kprune._support import registration, signatures, validation
from kprune.schedules import grid

__all__ = ["Constant", "Function", "Iterative", "PolynomialDecay", "Schedule"]


class Schedule(grid.Grid, abc.ABC):
    """Maps a step to a sparsity. Subclasses are frozen dataclasses.

    A subclass implements `__call__` for steps from `begin_step` to `end_step`.
    """

    @abc.abstractmethod
    def __call__(self, step: int) -> float:
        """Returns the sparsity at a step."""

    def advise_end(self, step: int) -> str:
        """Returns, for messages, the argument with which the schedule ends by a step."""
        return f"end_step={step} or less (or end_step=0.75, a fraction of the fit)"

    def _set_default_frequency(self) -> None:
        """Sets a frequency that was not given, in the terms of begin and end: some 75 updates."""
        if self.frequency is None:
            begin, end = self.begin_step, self.end_step
            is_whole = isinstance(begin, numbers.Integral) and isinstance(end, numbers.Integral)
            frequency = max(1, round((end - begin) / 75)) if is_whole else 0.01
            object.__setattr__(self, "frequency", frequency)


@signatures.explained
def check_rising(schedule: Schedule) -> None:
    """Raises ValueError if the sparsity of a resolved schedule falls at some step of its grid."""
    begin, end, frequency = (
        int(each) for each in (schedule.begin_step, schedule.end_step, schedule.frequency)
    )
    stride = frequency * max(1, (end - begin) // frequency // 1000)
    before = 0.0
    for step in (*range(begin, end, stride), end):
        if schedule(step) < before - 1e-9:
            raise ValueError(
                f"{schedule} lowers the sparsity to {schedule(step):.1%} at step {step}, after "
                f"{before:.1%}; what is pruned stays pruned, so expected one that never falls. "
                f"Write kprune.schedules.Constant({before:g}), or kprune.strip(model) to train "
                "all weights again."
            )
        before = schedule(step)


@registration.register
@dataclasses.dataclass(frozen=True)
class Constant(Schedule):
    """Sets the whole sparsity at one step.

    Use it to prune once and retrain: `s(t) = final_sparsity` from `begin_step` on.

    Args:
        final_sparsity: fraction of zeros, in [0, 1).
        begin_step: when to prune; a float is a fraction of the fit.

    Example:
        >>> Constant(0.5)(0)
        0.5
    """

    final_sparsity: float
    begin_step: grid.Step = 0

    def __post_init__(self) -> None:
        registration.validate_sparsity(self.final_sparsity, "final_sparsity")
        self._validate_steps()

    @property
    def end_step(self) -> grid.Step:  # type: ignore[override]
        """The same step as `begin_step`."""
        return self.begin_step

    @property
    def frequency(self) -> int:  # type: ignore[override]
        """One step; nothing changes after the begin."""
        return 1

    def __call__(self, step: int) -> float:
        """Returns the sparsity at a step."""
        return self.final_sparsity

    def advise_end(self, step: int) -> str:
        """Returns, for messages, the argument with which the schedule ends by a step."""
        return f"begin_step={step} or less (or begin_step=0.5, a fraction of the fit)"


@registration.register
@dataclasses.dataclass(frozen=True)
class PolynomialDecay(Schedule):
    """Raises the sparsity steeply at first, then ever more slowly.

    Use it for gradual pruning in one training run: many weights are pruned while many are
    redundant, and the network has time to recover from the last mask updates.

    `s(t) = final + (initial - final) * (1 - (t - begin) / (end - begin)) ** power`

    Args:
        initial_sparsity: fraction of zeros at `begin_step`, in [0, 1).
        final_sparsity: fraction of zeros from `end_step` on, in [0, 1).
        begin_step: first step of the ramp; a float is a fraction of the fit, a whole number a
            count of all the updates that the optimizer has made, in earlier fits too.
        end_step: last step of the ramp; a float is a fraction of the fit. The default leaves a
            quarter of the fit for fine-tuning.
        power: exponent of the ramp, greater than 0.
        frequency: steps from one mask update to the next; a float is a fraction of the fit.
            Default: 0.01; where begin and end are whole numbers, a 75th of the way between them.

    Raises:
        ValueError: a sparsity outside [0, 1), an end before the begin, a frequency below 1; when it
            is called, a begin or end that is a fraction of the fit.

    Example:
        >>> round(PolynomialDecay(0.0, 0.8, 1000, 2000)(1250), 4)
        0.4625

    Reference:
        Zhu and Gupta, To prune, or not to prune, 2017.
    """

    initial_sparsity: float
    final_sparsity: float
    begin_step: grid.Step = 0.0
    end_step: grid.Step = 0.75
    power: float = 3
    frequency: grid.Step = None  # type: ignore[assignment]  # until it is known what is whole

    def __post_init__(self) -> None:
        registration.validate_sparsity(self.initial_sparsity, "initial_sparsity")
        registration.validate_sparsity(self.final_sparsity, "final_sparsity")
        validation.require_number(self.power, "power", write=3, above=True)
        self._set_default_frequency()
        self._validate_steps()

    def __call__(self, step: int) -> float:
        """Returns the sparsity at a step."""
        self._require_steps(self.begin_step, self.end_step)
        if step >= self.end_step:
            return self.final_sparsity
        left = 1 - max(0.0, (step - self.begin_step) / (self.end_step - self.begin_step))
        rise = self.initial_sparsity - self.final_sparsity
        return self.final_sparsity + rise * left**self.power


@registration.register
@dataclasses.dataclass(frozen=True)
class Iterative(Schedule):
    """Raises the sparsity from X to Y in equal steps, with retraining between them.

    Use it for iterative magnitude pruning of a pre-trained model.

    `s(t) = X + (Y - X) * min(steps, (t - begin) // frequency) / steps`

    Args:
        initial_sparsity: X, fraction of zeros at `begin_step`, in [0, 1).
        final_sparsity: Y, fraction of zeros after the last step, in [0, 1).
        steps: how many times the sparsity rises from X to Y.
        frequency: steps from one rise to the next; a float is a fraction of the fit. In the paper
            it is 1001 steps.
        begin_step: the step at which the sparsity becomes X; a float is a fraction of the fit.

    Raises:
        ValueError: a sparsity outside [0, 1), or fewer than one step.

    Example:
        >>> round(Iterative(0.3, 0.9, frequency=1001, begin_step=0)(5005), 4)
        0.6333

    Reference:
        Cheong and Daniel, transformers.zip: Compressing Transformers with Pruning and
        Quantization, 2019.
    """

    initial_sparsity: float
    final_sparsity: float
    steps: int = 9
    frequency: grid.Step = 0.08
    begin_step: grid.Step = 0.0

    def __post_init__(self) -> None:
        registration.validate_sparsity(self.initial_sparsity, "initial_sparsity")
        registration.validate_sparsity(self.final_sparsity, "final_sparsity")
        validation.require_whole(self.steps, "steps", write=9)
        self._validate_steps()

    @property
    def end_step(self) -> grid.Step:  # type: ignore[override]
        """The step of the last rise."""
        if isinstance(self.frequency, float) or isinstance(self.begin_step, float):
            return 1.0
        return self.begin_step + self.steps * self.frequency

    def __call__(self, step: int) -> float:
        """Returns the sparsity at a step."""
        self._require_steps(self.begin_step, self.frequency)
        rises = min(self.steps, (step - self.begin_step) // self.frequency)
        fraction = max(0, rises) / self.steps
        return self.initial_sparsity + (self.final_sparsity - self.initial_sparsity) * fraction

    def advise_end(self, step: int) -> str:
        """Returns, for messages, the argument with which the schedule ends by a step."""
        left = step - int(self.begin_step)
        if left < self.steps:
            return f"steps={max(1, left)}, frequency=1"
        fraction = f"frequency={0.75 / self.steps:.2g}, a fraction of the fit"
        return f"frequency={left // self.steps} or less (or {fraction})"


@registration.register
@dataclasses.dataclass(frozen=True)
class Function(Schedule):
    """Calls any function from step to sparsity.

    Use it if no other schedule fits; a plain callable given as a schedule becomes one. To save it
    in a config, register the function with `keras.saving.register_keras_serializable()`.

    Args:
        function: maps a step to a sparsity in [0, 1).
        begin_step: first step at which it is called; a float is a fraction of the fit.
        end_step: last step at which it is called, in the same terms.
        frequency: steps from one call to the next, in the same terms. Default: as that of
            `PolynomialDecay`.

    Raises:
        TypeError: the function cannot be called.
        ValueError: when it is called, the function returns no sparsity in [0, 1).

    Example:
        >>> Function(lambda step: min(0.8, step / 1000))(400)
        0.4
    """

    function: Callable[[int], float]
    begin_step: grid.Step = 0
    end_step: grid.Step = 1.0
    frequency: grid.Step = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        line = "lambda step: min(0.9, step / 1000)"
        validation.require_function(self.function, "function", line)
        self._set_default_frequency()
        self._validate_steps()

    def __call__(self, step: int) -> float:
        """Returns the function's value, validated."""
        value = self.function(step)
        value = float(value) if getattr(value, "shape", None) == () else value  # a tensor
        return registration.validate_sparsity(value, f"the schedule's value at step {step}")
