"""Weights: what in a model may be pruned, and how to find it.

A kernel is told by the end of its variable's name (`kernel`, `embeddings`), which holds for every
layer of Keras and KerasHub, inside attention and recurrent cells too. Everything else stays, and
`survey` says why.
"""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kprune import patterns

Array = np.ndarray[Any, Any]
Filter: TypeAlias = (
    str | type | keras.layers.Layer | keras.Variable | Callable[[keras.Variable], bool]
)
Classes: TypeAlias = str | Mapping[str, str] | Callable[["Site"], str]

KERNEL = re.compile(r"(kernel|embeddings)$")


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
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


@dataclasses.dataclass(frozen=True, eq=False)
class Weight:
    """A weight with its mask: what every criterion, allocation and pattern works on.

    Args:
        site: where the weight lives.
        mask: a boolean variable of the weight's shape; true is kept.
        label: the weight's class, within which or between which allocations compare.
        pattern: what of it is cut as one piece.
        constraint: the user's own constraint, to be put back.
        kept_at_wrap: how many weights were there when it was wrapped.
    """

    site: Site
    mask: keras.Variable
    label: str
    pattern: patterns.Pattern
    constraint: Callable[[Any], Any] | None
    kept_at_wrap: int

    @property
    def variable(self) -> keras.Variable:
        """The weight's variable."""
        return self.site.variable

    @property
    def path(self) -> str:
        """The weight's path in the model."""
        return self.site.path

    @property
    def size(self) -> int:
        """How many weights there are, zeros and all."""
        return int(np.prod(self.variable.shape))

    @property
    def view(self) -> patterns.MatrixView:
        """How the weight is read as a matrix [input, output]."""
        return self.site.view

    def values(self) -> Array:
        """Returns the values, read-only, without a copy where TensorFlow lends its buffer."""
        return read(self.variable)

    def alive(self) -> Array:
        """Returns the mask, read-only."""
        return read(self.mask)

    def kept(self) -> int:
        """Returns how many weights the mask keeps."""
        return int(np.count_nonzero(self.alive()))


def read(variable: keras.Variable) -> Array:
    """Returns a variable's values as a read-only array, without a copy on the CPU."""
    value = variable.value
    try:  # one operation, where `read_value` takes two
        tensor = tf.raw_ops.ReadVariableOp(resource=value.handle, dtype=value.dtype)
    except (AttributeError, ValueError):  # mirrored over devices
        tensor = tf.convert_to_tensor(value)
    try:
        return np.asarray(memoryview(tensor))
    except (TypeError, ValueError, BufferError):  # another device, or bfloat16
        return np.asarray(tensor)


@contextlib.contextmanager
def holding(values: Mapping[Weight, Array]) -> Iterator[None]:
    """Lets weights have other values during a block.

    Example:
        >>> before = model.evaluate(x, y, verbose=0)
        >>> weight = kprune.wrappers.find(model)[0]
        >>> with holding({weight: np.zeros(weight.variable.shape)}):
        ...     loss = model.evaluate(x, y, verbose=0)
    """
    held = {weight: tf.identity(weight.variable.value) for weight in values}
    try:
        for weight, array in values.items():
            weight.variable.assign(tf.cast(array, weight.variable.dtype))
        yield
    finally:
        for weight, tensor in held.items():
            weight.variable.assign(tensor)


def walk(model: keras.layers.Layer) -> Iterator[Site]:
    """Yields every variable of a model once, in the order of its layers, with its surroundings."""
    seen: set[int] = set()

    def visit(layer: Any, owners: tuple[Any, ...]) -> Iterator[Site]:
        owners = (*owners, layer)
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
            if id(variable) not in seen:
                seen.add(id(variable))
                yield Site(variable, layer, owners)
        for sublayer in layer._layers:
            if id(sublayer) not in seen:
                seen.add(id(sublayer))
                yield from visit(sublayer, owners)

    yield from visit(model, ())


def survey(
    model: keras.layers.Layer,
    include: Filter | Sequence[Filter] | None = None,
    exclude: Filter | Sequence[Filter] | None = None,
) -> tuple[list[Site], list[tuple[Site, str]]]:
    """Finds what may be pruned, and says of the rest why not.

    Args:
        model: a built model or layer.
        include: what to prune; a regex, searched in the variable's path, a layer or a class of
            layers narrow the choice among kernels and embeddings, a callable of the variable
            decides alone on all with two axes or more, and a variable names itself, a bias too.
            A list is the union of its members. Default: every kernel.
        exclude: what not to prune, in the same terms.

    Returns:
        The sites to prune, and the others each with a reason.

    Raises:
        ValueError: a filter matches nothing.
    """
    wanted, unwanted = _listed(include), _listed(exclude)
    used: set[int] = set()
    chosen, others = [], []

    def any_of(filters: list[Filter], site: Site) -> bool:
        hits = [position for position, each in enumerate(filters) if matches(each, site)]
        used.update(id(filters[position]) for position in hits)
        return bool(hits)

    for site in walk(model):
        asked = any_of(wanted, site)
        refused = any_of(unwanted, site)
        reason = _unprunable(site, wanted)
        if reason is None and refused:
            reason = "excluded"
        if reason is None and include is not None and not asked:
            reason = "not included"
        if reason is None:
            chosen.append(site)
        else:
            others.append((site, reason))
    for name, filters in (("include", wanted), ("exclude", unwanted)):
        for each in filters:
            if id(each) not in used:
                paths = [site.path for site in walk(model) if _unprunable(site, []) is None]
                shown = ", ".join(paths[:5]) + (", ..." if len(paths) > 5 else "")
                came = each.path if isinstance(each, keras.Variable) else repr(each)
                raise ValueError(
                    f"{name}={came} matches nothing in {model.name}; expected a regex, a layer, "
                    "a class of layers, a variable or a function of it that matches one of "
                    f"{shown}. Write {name}={_example(paths)!r}."
                )
    return chosen, others


def labels(sites: Sequence[Site], classes: Classes) -> list[str]:
    """Returns the class of each site.

    Args:
        sites: where the weights live.
        classes: "layer", one class for each layer; "weight", one for each variable; "kind", one
            each for embedding, attention, recurrent, convolution, feed_forward and output; a
            mapping from class to a regex of the path, the first match counts, the rest is
            "other"; or a callable of the site.

    Raises:
        ValueError: the word is none of these.
    """
    if callable(classes):
        return [str(classes(site)) for site in sites]
    if isinstance(classes, Mapping):
        return [
            next((name for name, regex in classes.items() if re.search(regex, site.path)), "other")
            for site in sites
        ]
    if classes == "layer":
        return [site.path.rsplit("/", 1)[0] for site in sites]
    if classes == "weight":
        return [site.path for site in sites]
    if classes == "kind":
        last = [site for site in sites if site.kind == "feed_forward"][-1:]
        return ["output" if site in last else site.kind for site in sites]
    raise ValueError(
        f'classes={classes!r}; expected "layer", "weight", "kind", a mapping from class to regex, '
        'or a function of the site. Write classes="layer".'
    )


def _listed(filters: Any) -> list[Any]:
    if filters is None:
        return []
    return list(filters) if isinstance(filters, (list, tuple, set)) else [filters]


def matches(each: Any, site: Site) -> bool:
    """Whether a filter of `survey` matches a site."""
    if isinstance(each, str):
        return re.search(each, site.path) is not None
    if isinstance(each, type):
        return any(isinstance(owner, each) for owner in site.owners)
    if isinstance(each, keras.layers.Layer):
        return any(owner is each for owner in site.owners)
    if isinstance(each, keras.Variable):
        return each is site.variable
    return bool(each(site.variable))


def _unprunable(site: Site, wanted: list[Any]) -> str | None:
    """The reason why a variable is no kernel, unless a filter names it in its own right."""
    if "float" not in str(site.variable.dtype):
        return f"{site.variable.dtype}, not floating"
    if not site.variable.shape:
        return "a single number"
    if any(each is site.variable for each in wanted):
        return None
    if len(site.variable.shape) < 2:
        return "bias or scale"
    predicates = [each for each in wanted if not isinstance(each, (str, type, keras.layers.Layer))]
    if KERNEL.search(site.variable.name) or any(matches(each, site) for each in predicates):
        return None
    return "not a kernel by its name"


def _example(paths: list[str]) -> str:
    return paths[0].rsplit("/", 1)[0].rsplit("/", 1)[-1] if paths else "dense"


def _input_axes(layer: Any, variable: keras.Variable) -> tuple[int, ...]:
    """The axes of a kernel that an output sums over."""
    rank = len(variable.shape)
    name = type(layer).__name__
    if isinstance(layer, keras.layers.EinsumDense) and variable is layer._kernel:
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
