"""Lists the steps of a training at which something is done."""

import dataclasses
import math
import numbers
from typing import Self, TypeAlias

from kprune._support import registration, validation

__all__ = ["Grid", "Interval", "Step"]

Step: TypeAlias = int | float  # an int is a step, a float is a fraction of the fit


class Grid(registration.Member):
    """Lists steps at which something is done. Subclasses are frozen dataclasses.

    A subclass has the fields or properties `begin_step`, `end_step` and `frequency`.
    """

    begin_step: Step
    end_step: Step
    frequency: Step

    def resolve(self, steps: int | None, origin: int = 0) -> Self:
        """Returns this grid with every fraction of the fit turned into a step.

        Args:
            steps: how many updates the fit makes; `None` if that is not known.
            origin: the update at which the fit starts.

        Raises:
            ValueError: there is a fraction, but the length of the fit is not known; or the end,
                once it is known, precedes the begin.

        Example:
            >>> decay = kprune.schedules.PolynomialDecay(0.0, 0.9, begin_step=0.1, end_step=0.5)
            >>> decay.resolve(1000).end_step
            500
        """
        changes = {}
        if steps is not None:
            validation.require_whole(steps, "steps", minimum=0, write=1000)
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name in ("begin_step", "end_step", "frequency") and isinstance(value, float):
                if steps is None:
                    raise ValueError(
                        f"{field.name}={value} is a fraction of the fit, and the fit's length is "
                        "not known; expected steps as whole numbers. Write "
                        "model.fit(..., steps_per_epoch=...)."
                    )
                whole = round(value * steps)
                changes[field.name] = max(1, whole) if field.name == "frequency" else origin + whole
        return dataclasses.replace(self, **changes) if changes else self  # type: ignore[type-var]

    def grid(self, step: int) -> int | None:
        """Returns the last step of the grid up to `step`; `None` before the first."""
        begin, end, frequency = int(self.begin_step), int(self.end_step), int(self.frequency)
        if step < begin:
            return None
        return end if step >= end else begin + (step - begin) // frequency * frequency

    def after(self, step: int) -> float:
        """Returns the first step of the grid after `step`; infinity after the last."""
        begin, end, frequency = int(self.begin_step), int(self.end_step), int(self.frequency)
        if step < begin:
            return begin
        if step >= end:
            return math.inf
        return min(end, begin + ((step - begin) // frequency + 1) * frequency)

    @property
    def is_resolved(self) -> bool:
        """Whether no argument is a fraction of the fit."""
        return not any(
            isinstance(value, float) for value in (self.begin_step, self.end_step, self.frequency)
        )

    def _require_steps(self, *arguments: Step) -> None:
        """Raises ValueError if one of some arguments is still a fraction of the fit."""
        if any(isinstance(each, float) for each in arguments):
            raise ValueError(
                f"{self} has a fraction of the fit; expected steps where its value is computed. "
                "Write schedule.resolve(steps)(step), with the number of updates of the fit."
            )

    def _validate_steps(self) -> None:
        for name in ("begin_step", "frequency", "end_step"):
            value = getattr(self, name)
            if isinstance(value, float) and not 0 <= value <= 1:
                whole = max(0, int(value)) if math.isfinite(value) else 100
                raise ValueError(
                    f"{name}={value}: a float is a fraction of the fit; expected one in [0, 1], or "
                    f"a step, which is a whole number. Write {name}={whole}."
                )
            if not isinstance(value, (numbers.Integral, float)) or isinstance(value, bool):
                raise TypeError(
                    f"{name}={validation.describe_kind(value)}; expected a step or a fraction of "
                    f"the fit. Write {name}=1000 for a step, {name}=0.5 for half of the fit."
                )
            minimum = int(name == "frequency" and not isinstance(value, float))
            if value < minimum:
                raise ValueError(
                    f"{name}={value}; expected at least {minimum}. "
                    f"Write {name}={max(minimum, 100)}."
                )
        if type(self.begin_step) is type(self.end_step) and self.end_step < self.begin_step:
            raise ValueError(
                f"end_step={self.end_step} precedes begin_step={self.begin_step}; expected an end "
                f"at the begin or after it. Write begin_step={self.end_step}, "
                f"end_step={self.begin_step}."
            )


@registration.register
@dataclasses.dataclass(frozen=True)
class Interval(Grid):
    """Lists steps at a fixed distance from one step to another.

    Use it for what a callback does at steps without a given sparsity.

    Args:
        begin_step: first step; a float is a fraction of the fit.
        end_step: last step, in the same terms.
        frequency: distance between two steps.

    Example:
        >>> Interval(100, 500, 150).after(420)
        500
    """

    begin_step: Step = 0.0
    end_step: Step = 1.0
    frequency: Step = 0.01

    def __post_init__(self) -> None:
        self._validate_steps()
