"""Computes the sparsity at each step of a training, and the steps at which masks are updated.

A schedule is a function of the step, and a grid of steps at which the masks are updated:
`begin_step`, then every `frequency` steps, then `end_step`, which need not be on that grid. So a
schedule always reaches its final sparsity, whichever steps a training loop happens to see.

A step is an update of the optimizer (`optimizer.iterations`). A float argument is a fraction of the
fit, in [0, 1]; `resolve` turns fractions into steps once the length of the fit is known.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import keras

from kprune._support import registration, signatures, validation
from kprune.schedules.grid import Grid, Interval, Step
from kprune.schedules.schedule import (
    Constant,
    Function,
    Iterative,
    PolynomialDecay,
    Schedule,
    check_rising,
)

__all__ = [
    "MEMBERS",
    "Constant",
    "Function",
    "Grid",
    "Interval",
    "Iterative",
    "PolynomialDecay",
    "Schedule",
    "ScheduleLike",
    "ScheduleName",
    "Step",
    "check_rising",
    "get",
]

ScheduleName: TypeAlias = Literal["polynomial_decay", "constant", "iterative"]
ScheduleLike: TypeAlias = Schedule | ScheduleName | Callable[[int], float]

MEMBERS: dict[str, Callable[[], Schedule]] = {
    "polynomial_decay": lambda: PolynomialDecay(0.0, 0.9),
    "constant": lambda: Constant(0.9),
    "iterative": lambda: Iterative(0.0, 0.9),
}


@signatures.explained
def get(identifier: Any) -> Schedule:
    """Returns the schedule that a name, a config, a callable or a schedule stands for.

    A name stands for a schedule from no sparsity to 0.9 whose steps are fractions of the fit. A
    schedule of `tensorflow_model_optimization` becomes the one here of the same formula; that
    package itself is not imported.

    Args:
        identifier: a name among `MEMBERS`, a config, a function from step to sparsity, or a
            schedule.

    Raises:
        ValueError: the name is unknown.
        TypeError: it is none of these.

    Example:
        >>> kprune.schedules.get("polynomial_decay").final_sparsity
        0.9
    """
    if isinstance(identifier, Schedule):
        return identifier
    if type(identifier).__module__.startswith("tensorflow_model_optimization"):
        return _from_tfmot(identifier)
    if callable(identifier) and not isinstance(identifier, (type, keras.layers.Layer)):
        return Function(identifier)
    if isinstance(identifier, (str, Mapping)):
        return registration.resolve(identifier, Schedule, MEMBERS, "schedule")  # type: ignore[type-abstract]
    final = registration.suggest_sparsity(identifier)
    raise TypeError(
        f"schedule={validation.describe_kind(identifier)}; expected a schedule, its name, "
        "or a function from step to sparsity. "
        f"Write kprune.schedules.PolynomialDecay(0.0, {final}), which also has a begin and an end."
    )


def _from_tfmot(schedule: Any) -> Schedule:
    """Translates a schedule of the older toolkit, whose call returns (is due, sparsity)."""
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
    end = end if end >= begin else 1.0  # there -1 means never
    return Function(lambda step: float(schedule(step)[1]), begin, end, frequency)
