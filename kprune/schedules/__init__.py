"""Schedules: how much is zero at which step, and when to look.

A schedule is a function of the step, and a grid of steps at which the masks are made anew:
`begin_step`, then every `frequency` steps, then `end_step` whether the grid meets it or not. So a
schedule always lands, whatever steps a training loop happens to see.

A step is an update of the optimizer (`optimizer.iterations`). Where an argument is a float it is
a fraction of the fit, in [0, 1]; `resolve` turns fractions into steps once the fit's length is
known.
"""

from collections.abc import Mapping
from typing import Any

import keras

from kprune.schedules.grid import Grid, Interval, Step
from kprune.schedules.schedule import Constant, Function, Iterative, PolynomialDecay, Schedule

__all__ = [
    "Constant",
    "Function",
    "Grid",
    "Interval",
    "Iterative",
    "PolynomialDecay",
    "Schedule",
    "Step",
    "get",
]


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
