"""Chooses the variables of a model that are pruned, and groups them into classes.

A kernel is known by the end of its variable's name (`kernel`, `embeddings`), which holds for nearly
every layer of Keras and KerasHub, inside attention and recurrent cells too.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from kprune._keras import walk
from kprune._masking.locations import Location, locate

Filter: TypeAlias = (
    str | type | keras.layers.Layer | keras.Variable | Callable[[keras.Variable], bool]
)
Classes: TypeAlias = str | Mapping[str, str] | Callable[[Location], str]

KERNEL = re.compile(r"(kernel|embeddings)$")
BIAS = re.compile(r"(bias|beta|gamma|scale|offset)$")
REGEX = re.compile(r"[.^$*+?{}\[\]\\|()]")  # what makes a pattern more than parts of a path
OTHER_NAME = "not a kernel by its name"
STATE = "made with trainable=False"


def find_prunable(
    model: keras.layers.Layer,
    include: Filter | Sequence[Filter] | None = None,
    exclude: Filter | Sequence[Filter] | None = None,
) -> tuple[list[Location], list[tuple[Location, str]]]:
    """Finds what may be pruned, and says of the rest why not.

    Args:
        model: a built model or layer.
        include: what to prune; parts of the variable's path or a regex (`matches_path`), a layer
            or a class of layers narrow the choice among kernels and embeddings. A pattern that
            needs the variable's own name to match takes a weight of another name too, a callable
            of the variable decides alone on all with two axes or more, and a variable names
            itself, a bias too. A list is the union of its weights. Default: every kernel.
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
                    f"{name}={came} matches nothing in {model.name}; expected whole parts of a "
                    "path, a regex, a layer, a class of layers, a variable or a function of it "
                    f"that matches one of {shown}. Write {name}={_example(each, paths)!r}."
                )
    return chosen, others


def labels(locations: Sequence[Location], classes: Classes) -> list[str]:
    """Returns the class of each location.

    Args:
        locations: where the weights live.
        classes: "layer", one class for each layer; "weight", one for each variable; "kind", one
            each for embedding, attention, recurrent, convolution, feed_forward and output; a
            mapping from class to a pattern of the path, the first match counts, the rest is
            "other"; or a callable of the location. A layer is named by the names of those around
            it, such as `lenet/dense`, which are the same in a model that was loaded; a second one
            of the same name is `lenet/dense#2`.

    Raises:
        ValueError: the word is none of these, or a pattern is no regex.
    """
    if callable(classes):
        return [str(classes(location)) for location in locations]
    if isinstance(classes, Mapping):
        return [
            next((name for name, each in classes.items() if matches(each, location)), "other")
            for location in locations
        ]
    if classes == "layer":
        return _number([(location.place, location.layer) for location in locations])
    if classes == "weight":
        return _number([(each.full_path, each.variable) for each in locations])
    if classes == "kind":
        last = [location for location in locations if location.kind == "feed_forward"][-1:]
        return ["output" if location in last else location.kind for location in locations]
    raise ValueError(
        f'classes={classes!r}; expected "layer", "weight", "kind", a mapping from class to regex, '
        'or a function of the location. Write classes="layer".'
    )


def _number(named: Sequence[tuple[str, object]]) -> list[str]:
    """Returns a name for each object, with a number where another object has that name."""
    owners: dict[str, list[int]] = {}
    result = []
    for name, owner in named:
        same = owners.setdefault(name, [])
        if id(owner) not in same:
            same.append(id(owner))
        place = same.index(id(owner))
        result.append(f"{name}#{place + 1}" if place else name)
    return result


def _listed(filters: Any) -> list[Any]:
    if filters is None:
        return []
    return list(filters) if isinstance(filters, (list, tuple, set)) else [filters]


def matches(each: Any, location: Location) -> bool:
    """Returns whether a filter matches a location."""
    if isinstance(each, str):
        return any(matches_path(each, path) for path in (location.path, location.full_path))
    if isinstance(each, type):
        return any(isinstance(owner, each) for owner in location.owners)
    if isinstance(each, keras.layers.Layer):
        return any(owner is each for owner in location.owners)
    if isinstance(each, keras.Variable):
        return each is location.variable
    return bool(each(location.variable))


def matches_path(pattern: str, path: str) -> bool:
    """Returns whether a pattern matches a path.

    A pattern without a special character of regexes stands for whole parts of the path, one or
    several in a row: "dense_1" matches `lenet/dense_1/kernel`, not `lenet/dense_10/kernel`. Any
    other is a regex that is searched in the path: "dense_1.*" matches both.

    Example:
        >>> matches_path("dense_1", "lenet/dense_10/kernel")
        False
    """
    if not REGEX.search(pattern):
        return f"/{pattern.strip('/')}/" in f"/{path}/"
    return re.search(pattern, path) is not None


def _unprunable(location: Location, wanted: list[Any]) -> str | None:
    """The reason why a variable is no kernel, unless a filter names it in its own right."""
    variable = location.variable
    if "float" not in str(variable.dtype):
        return f"{variable.dtype}, not floating"
    if not variable.shape:
        return "a single number"
    if any(each is variable for each in wanted):
        return None
    if len(variable.shape) < 2 or BIAS.search(variable.name):
        predicates = [each for each in wanted if _is_predicate(each)]
        named = len(variable.shape) > 1 and any(matches(each, location) for each in predicates)
        return None if named else "bias or scale"
    if any(_names(each, location) for each in wanted):
        return None
    if walk.is_state(location.layer, variable):
        return STATE
    return None if KERNEL.search(variable.name) else OTHER_NAME


def _is_predicate(each: Any) -> bool:
    return not isinstance(each, (str, type, keras.layers.Layer, keras.Variable))


def _names(each: Any, location: Location) -> bool:
    """Returns whether a filter names a variable itself, not only the layer that holds it."""
    if isinstance(each, str):
        # "rel_embedding" and "encoder/rel_embedding", not "encoder" nor ".*"
        paths = (location.variable.name, location.path, location.full_path)
        return any(
            matches_path(each, path) and not matches_path(each, path.rpartition("/")[0])
            for path in paths
        )
    return _is_predicate(each) and matches(each, location)


def _example(given: Any, paths: list[str]) -> str:
    """Returns a filter that matches something: the given one as a regex, or a layer's name."""
    is_part = isinstance(given, str) and any(given in path for path in paths)
    if is_part and not REGEX.search(given):
        return f"{given}.*"
    return paths[0].rsplit("/", 1)[0].rsplit("/", 1)[-1] if paths else "dense"
