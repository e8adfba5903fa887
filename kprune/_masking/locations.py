"""Finds the variables of a model that may be pruned, and says of the others why not.

A kernel is known by the end of its variable's name (`kernel`, `embeddings`), which holds for every
layer of Keras and KerasHub, inside attention and recurrent cells too.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from kprune import patterns
from kprune._keras import private, walk
from kprune._support import validation

Filter: TypeAlias = (
    str | type | keras.layers.Layer | keras.Variable | Callable[[keras.Variable], bool]
)
Classes: TypeAlias = str | Mapping[str, str] | Callable[["Location"], str]

KERNEL = re.compile(r"(kernel|embeddings)$")


@dataclasses.dataclass(frozen=True, eq=False)
class Location:
    """Where a variable of a model lives.

    Args:
        variable: the variable.
        layer: the layer that owns it.
        owners: the layers around it, the model first, the owner last.
    """

    variable: keras.Variable
    layer: keras.layers.Layer
    owners: tuple[keras.layers.Layer, ...]

    @property
    def path(self) -> str:
        """The variable's path, such as `lenet/dense/kernel`."""
        return str(self.variable.path)

    @property
    def kind(self) -> str:
        """One of embedding, attention, recurrent, convolution, feed_forward."""
        names = [type(owner).__name__ for owner in self.owners[1:]] or [type(self.layer).__name__]
        if self.variable.name.endswith("embeddings"):
            return "embedding"
        if any("Attention" in name for name in names):
            return "attention"
        if any(isinstance(owner, keras.layers.RNN) for owner in self.owners):
            return "recurrent"
        return "convolution" if "Conv" in names[-1] else "feed_forward"

    @property
    def view(self) -> patterns.MatrixView:
        """How the variable is read as a matrix [input, output]."""
        shape = tuple(self.variable.shape)
        inputs = _input_axes(self.layer, self.variable)
        outputs = tuple(axis for axis in range(len(shape)) if axis not in inputs)
        return patterns.MatrixView(shape, inputs, outputs)


def locate(model: keras.layers.Layer) -> Iterator[Location]:
    """Yields the location of every variable of a model, each once, in the order of its layers."""
    seen: set[int] = set()

    def visit(layer: Any, owners: tuple[Any, ...]) -> Iterator[Location]:
        owners = (*owners, layer)
        for variable in walk.variables(layer):
            if id(variable) not in seen:
                seen.add(id(variable))
                yield Location(variable, layer, owners)
        for sublayer in walk.children(layer):
            if id(sublayer) not in seen:
                seen.add(id(sublayer))
                yield from visit(sublayer, owners)

    yield from visit(model, ())


def find_prunable(
    model: keras.layers.Layer,
    include: Filter | Sequence[Filter] | None = None,
    exclude: Filter | Sequence[Filter] | None = None,
) -> tuple[list[Location], list[tuple[Location, str]]]:
    """Finds what may be pruned, and says of the rest why not.

    Args:
        model: a built model or layer.
        include: what to prune; a regex, searched in the variable's path, a layer or a class of
            layers narrow the choice among kernels and embeddings, a callable of the variable
            decides alone on all with two axes or more, and a variable names itself, a bias too.
            A list is the union of its weights. Default: every kernel.
        exclude: what not to prune, in the same terms.

    Returns:
        The locations to prune, and the others each with a reason.

    Raises:
        ValueError: a filter matches nothing.
    """
    wanted, unwanted = _listed(include), _listed(exclude)
    used: set[int] = set()
    chosen, others = [], []

    def any_of(filters: list[Filter], location: Location) -> bool:
        hits = [position for position, each in enumerate(filters) if matches(each, location)]
        used.update(id(filters[position]) for position in hits)
        return bool(hits)

    for location in locate(model):
        asked = any_of(wanted, location)
        refused = any_of(unwanted, location)
        reason = _unprunable(location, wanted)
        if reason is None and refused:
            reason = "excluded"
        if reason is None and include is not None and not asked:
            reason = "not included"
        if reason is None:
            chosen.append(location)
        else:
            others.append((location, reason))
    for name, filters in (("include", wanted), ("exclude", unwanted)):
        for each in filters:
            if id(each) not in used:
                paths = [
                    location.path for location in locate(model) if _unprunable(location, []) is None
                ]
                shown = ", ".join(paths[:5]) + (", ..." if len(paths) > 5 else "")
                came = each.path if isinstance(each, keras.Variable) else repr(each)
                raise ValueError(
                    f"{name}={came} matches nothing in {model.name}; expected a regex, a layer, "
                    "a class of layers, a variable or a function of it that matches one of "
                    f"{shown}. Write {name}={_example(paths)!r}."
                )
    return chosen, others


def validate_filters(include: Any, exclude: Any) -> None:
    """Raises TypeError or ValueError if `include` or `exclude` holds what is no filter."""
    for name, filters in (("include", include), ("exclude", exclude)):
        for each in _listed(filters):
            if isinstance(each, str):
                validate_regex(each, name)
            elif not isinstance(each, (type, keras.layers.Layer, keras.Variable)) and not callable(
                each
            ):
                raise TypeError(
                    f"{name}={validation.describe_kind(each)}; expected a regex of a path, a "
                    "layer, a class of layers, a variable, a function of one, or a list of these. "
                    f'Write {name}="dense".'
                )


def validate_classes(classes: Any) -> None:
    """Raises TypeError or ValueError if `classes` does not say how weights group."""
    if isinstance(classes, Mapping):
        for name, regex in classes.items():
            validate_regex(regex, f"classes[{name!r}]")
    elif not callable(classes) or isinstance(classes, type):
        validation.require_choice(classes, "classes", ("layer", "weight", "kind"))


def validate_regex(regex: Any, name: str) -> None:
    """Raises TypeError or ValueError if a value is not a regular expression."""
    if not isinstance(regex, str):
        raise TypeError(
            f"{name}={validation.describe_kind(regex)}; expected a regex, which is searched in the "
            f'paths of weights. Write {name}="dense".'
        )
    try:
        re.compile(regex)
    except re.error as error:
        raise ValueError(
            f"{name}={regex!r} is no regex ({error}); expected one that is searched in the paths "
            f"of weights. Write {name}={re.escape(regex)!r} for these very characters."
        ) from error


def labels(locations: Sequence[Location], classes: Classes) -> list[str]:
    """Returns the class of each location.

    Args:
        locations: where the weights live.
        classes: "layer", one class for each layer; "weight", one for each variable; "kind", one
            each for embedding, attention, recurrent, convolution, feed_forward and output; a
            mapping from class to a regex of the path, the first match counts, the rest is
            "other"; or a callable of the location.

    Raises:
        ValueError: the word is none of these.
    """
    if callable(classes):
        return [str(classes(location)) for location in locations]
    if isinstance(classes, Mapping):
        return [
            next(
                (name for name, regex in classes.items() if re.search(regex, location.path)),
                "other",
            )
            for location in locations
        ]
    if classes == "layer":
        return [location.path.rsplit("/", 1)[0] for location in locations]
    if classes == "weight":
        return [location.path for location in locations]
    if classes == "kind":
        last = [location for location in locations if location.kind == "feed_forward"][-1:]
        return ["output" if location in last else location.kind for location in locations]
    raise ValueError(
        f'classes={classes!r}; expected "layer", "weight", "kind", a mapping from class to regex, '
        'or a function of the location. Write classes="layer".'
    )


def _listed(filters: Any) -> list[Any]:
    if filters is None:
        return []
    return list(filters) if isinstance(filters, (list, tuple, set)) else [filters]


def matches(each: Any, location: Location) -> bool:
    """Whether a filter of `survey` matches a location."""
    if isinstance(each, str):
        return re.search(each, location.path) is not None
    if isinstance(each, type):
        return any(isinstance(owner, each) for owner in location.owners)
    if isinstance(each, keras.layers.Layer):
        return any(owner is each for owner in location.owners)
    if isinstance(each, keras.Variable):
        return each is location.variable
    return bool(each(location.variable))


def _unprunable(location: Location, wanted: list[Any]) -> str | None:
    """The reason why a variable is no kernel, unless a filter names it in its own right."""
    if "float" not in str(location.variable.dtype):
        return f"{location.variable.dtype}, not floating"
    if not location.variable.shape:
        return "a single number"
    if any(each is location.variable for each in wanted):
        return None
    if len(location.variable.shape) < 2:
        return "bias or scale"
    predicates = [each for each in wanted if not isinstance(each, (str, type, keras.layers.Layer))]
    if KERNEL.search(location.variable.name) or any(matches(each, location) for each in predicates):
        return None
    return "not a kernel by its name"


def _example(paths: list[str]) -> str:
    return paths[0].rsplit("/", 1)[0].rsplit("/", 1)[-1] if paths else "dense"


def _input_axes(layer: Any, variable: keras.Variable) -> tuple[int, ...]:
    """The axes of a kernel that an output sums over."""
    rank = len(variable.shape)
    name = type(layer).__name__
    if isinstance(layer, keras.layers.EinsumDense) and variable is private.kernel(layer):
        given, rest = layer.equation.replace("...", "").split(",")
        kernel, result = rest.split("->")
        summed = tuple(
            i for i, letter in enumerate(kernel) if letter in given and letter not in result
        )
        return summed or tuple(range(rank - 1))
    if "Conv" in name and "depthwise" in name.lower() + variable.name:
        return tuple(range(rank - 2))  # (*window, channel, multiplier): a channel sums its window
    if "Conv" in name and "Transpose" in name:
        return (*range(rank - 2), rank - 1)  # (*window, output, input)
    return tuple(range(rank - 1))
