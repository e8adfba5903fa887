"""Explains calls whose arguments do not fit the signature of a public function or class."""

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from kprune._support.validation import describe

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

# What other packages call an argument, and what it is called here.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "allocator": ("allocation",),
    "amount": ("sparsity", "final_sparsity"),
    "batch": ("batch_size",),
    "block_shape": ("shape",),
    "blocks": ("shape",),
    "calibration_data": ("data", "representative_data"),
    "data": ("representative_data",),
    "dataset": ("data", "representative_data"),
    "end": ("end_step",),
    "file": ("path",),
    "filename": ("path",),
    "filepath": ("path",),
    "filters": ("include",),
    "importance": ("criterion",),
    "interval": ("frequency",),
    "layers": ("include",),
    "method": ("criterion",),
    "num_bits": ("bits",),
    "pruning_schedule": ("schedule",),
    "ratio": ("sparsity", "final_sparsity"),
    "representative_dataset": ("representative_data", "data"),
    "scope": ("allocation",),
    "skip": ("exclude",),
    "start": ("begin_step",),
    "start_step": ("begin_step",),
    "target_sparsity": ("sparsity", "final_sparsity"),
    "x": ("data", "representative_data"),
}

LABELS = "y", "labels", "targets", "validation_data"  # which go into one tuple with x

# Arguments that are looked for in one call and belong to another.
ELSEWHERE: Mapping[str, str] = {
    "allocation": "kprune.prune(model, 0.9, allocation={0})",
    "begin_step": "kprune.schedules.PolynomialDecay(0.0, 0.9, begin_step={0})",
    "bits": "kprune.training.share_weights(model, bits={0})",
    "classes": "kprune.wrap(model, classes={0})",
    "criterion": "kprune.prune(model, 0.9, criterion={0})",
    "data": "kprune.criteria.OBS(data)",
    "dataset": "kprune.criteria.OBS(data)",
    "end_step": "kprune.schedules.PolynomialDecay(0.0, 0.9, end_step={0})",
    "exclude": "kprune.wrap(model, exclude={0})",
    "include": "kprune.wrap(model, include={0})",
    "pattern": "kprune.wrap(model, pattern={0})",
    "quantization": "kprune.export.to_tflite(model, path, quantization={0})",
    "refit": "kprune.prune(model, 0.9, refit={0})",
    "representative_data": "kprune.criteria.OBS(data)",
    "schedule": "kprune.callbacks.Pruning(schedule)",
    "sparsity": "kprune.prune(model, sparsity={0})",
    "target": "kprune.export.to_tflite(model, path, target={0})",
}

# What to write for an argument that is needed.
TYPICAL: Mapping[str, str] = {
    "criterion": '"movement"',
    "epochs": "4",
    "final_sparsity": "0.9",
    "function": "lambda step: 0.5",
    "initial_sparsity": "0.0",
    "layer": "keras.layers.Dense(300)",
    "learning_rate": "0.5",
    "m": "4",
    "n": "2",
    "path": '"pruned.kprune"',
    "quality": "1.0",
    "regularizer": '"l2"',
    "shape": "(4, 1)",
    "sparsity": "0.9",
    "step": "optimizer.iterations",
    "steps": "1000",
    "strength": "0.1",
    "targets": '{"dense": 0.9}',
}


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a public function: a call that does not fit its signature is explained.

    It costs nothing where the call fits. Of a class, decorate `__init__`, or use
    `explain_constructor`.

    Raises:
        TypeError: an argument is unknown, is missing, or is one too many.

    Example:
        >>> prune = explained(lambda model, sparsity: None)
        >>> prune("model", 0.5)
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TypeError:
            message = explain(function, args, kwargs)
            if message is None:
                raise
        raise TypeError(message)

    return call


def explain_constructor(cls: C) -> C:
    """Decorates a class: a call of it that does not fit its signature is explained."""
    constructor = cast(Any, cls)
    constructor.__init__ = explained(constructor.__init__)
    return cls


def explain(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> str | None:
    """Returns what is wrong with a call, and the line to write; `None` where its arguments fit."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        name = function.__qualname__.partition(".__")[0]
        parameters = dict(signature.parameters)
        if function.__name__ in ("__init__", "__new__"):
            args = args[1:]
            parameters.pop(next(iter(parameters)))
        shown = [describe(each) for each in args]
        shown += [f"{key}={describe(value)}" for key, value in kwargs.items()]
        problem, line = _find_problem(name, parameters, args, kwargs)
        expected = ", ".join(_show(each) for each in parameters.values())
        return f"{name}({', '.join(shown)}) {problem}; expected {name}({expected}). Write {line}."
    return None


def _find_problem(
    name: str,
    parameters: Mapping[str, inspect.Parameter],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> tuple[str, str]:
    """Returns what is wrong with a call that does not fit, and the line to write."""
    for key, value in kwargs.items():
        if key not in parameters:
            return f"has an argument {key}, which is unknown", _suggest(
                name, key, value, parameters
            )
    by_place = [each for each in parameters.values() if each.kind is not each.KEYWORD_ONLY]
    if len(args) > len(by_place):
        if by_place and any(hasattr(each, "shape") for each in args):
            return "has too many arguments without a name", f"{name}((x, y))"
        names = [each.name for each in parameters.values() if each.kind is each.KEYWORD_ONLY]
        line = f"{names[0]}=..." if names else _fill(name, parameters)
        return "has too many arguments without a name", line
    for parameter in by_place[: len(args)]:
        if parameter.name in kwargs:
            return f"gives {parameter.name} twice", _fill(name, parameters)
    missing = [
        each.name
        for each in parameters.values()
        if each.default is each.empty
        and each.name not in kwargs
        and each not in by_place[: len(args)]
    ]
    return f"lacks {' and '.join(missing)}", _fill(name, parameters)


def _suggest(name: str, key: str, value: Any, parameters: Mapping[str, inspect.Parameter]) -> str:
    """Returns the line to write in place of an unknown argument."""
    if key in LABELS and "data" in parameters:
        return f"{name}((x, y)): all data in one tuple"
    known = [each for each in SYNONYMS.get(key, ()) if each in parameters]
    near = known or difflib.get_close_matches(key, parameters, n=1, cutoff=0.7)
    shown = describe(value) if isinstance(value, (str, int, float)) else "..."
    if near:
        return f"{near[0]}={shown}"
    if key in ELSEWHERE:
        return f"{ELSEWHERE[key].format(shown)}: {key} belongs there"
    return _fill(name, parameters)


def _fill(name: str, parameters: Mapping[str, inspect.Parameter]) -> str:
    """Returns a call with everything that is needed."""
    needed = [each.name for each in parameters.values() if each.default is each.empty]
    return f"{name}({', '.join(TYPICAL.get(each, each) for each in needed)})"


def _show(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return parameter.name
    return f"{parameter.name}={describe(parameter.default)}"
