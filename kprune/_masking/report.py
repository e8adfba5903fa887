"""The report: what was pruned, what was not, and why."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kprune._keras import backend, models
from kprune._masking import filters, locations, masked_weights
from kprune._masking.weight import Weight
from kprune._selection import scores
from kprune._support import signatures, tables, validation


@dataclasses.dataclass(frozen=True)
class PrunedWeight:
    """One masked weight.

    Args:
        path: the variable's path; where two are equal, with the names of all layers around it.
        label: its class.
        kind: embedding, attention, recurrent, convolution or feed_forward.
        pattern: what of it is cut as one piece.
        shape: its shape.
        size: how many values it has.
        kept: how many its mask keeps.
        stray: how many values are not zero though their mask is.
    """

    path: str
    label: str
    kind: str
    pattern: str
    shape: tuple[int, ...]
    size: int
    kept: int
    stray: int

    @property
    def sparsity(self) -> float:
        """Fraction of zeros."""
        return 1 - self.kept / self.size


@dataclasses.dataclass(frozen=True)
class UnprunedWeight:
    """One variable without a mask, and why it has none."""

    path: str
    shape: tuple[int, ...]
    size: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What of a model is pruned.

    `print` shows it as a table; `to_dict` gives it to JSON.

    Args:
        model: the model's name.
        pruned: the masked weights.
        unpruned: the other variables.
    """

    model: str
    pruned: tuple[PrunedWeight, ...]
    unpruned: tuple[UnprunedWeight, ...]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Raises AttributeError; of what a model has, with the line to write."""
            if hasattr(keras.Model, name) and not name.startswith("__"):
                raise AttributeError(
                    f"A kprune report has no {name!r}; expected a model. kprune.prune changes the "
                    "model in place and returns a report: write kprune.prune(model, 0.9) on a "
                    f"line of its own, then model.{name}."
                )
            raise AttributeError(f"A kprune report has no attribute {name!r}.")

    @property
    def size(self) -> int:
        """How many values the masked weights have."""
        return sum(each.size for each in self.pruned)

    @property
    def kept(self) -> int:
        """How many of them their masks keep."""
        return sum(each.kept for each in self.pruned)

    @property
    def sparsity(self) -> float:
        """Fraction of zeros among the masked weights; 0 where there are none."""
        return 1 - self.kept / self.size if self.size else 0.0

    @property
    def classes(self) -> dict[str, float]:
        """The sparsity of each class of masked weights."""
        return {
            label: 1 - sum(each.kept for each in group) / sum(each.size for each in group)
            for label, group in self._by_class().items()
        }

    def compression(self, embeddings: bool = True) -> float:
        """Returns how many times fewer parameters there are, those without a mask included.

        Args:
            embeddings: count word embeddings too; papers on language models often do not.
        """
        validation.require_flag(embeddings, "embeddings")
        masked = [each for each in self.pruned if embeddings or each.kind != "embedding"]
        others = sum(
            each.size
            for each in self.unpruned
            if embeddings or not each.path.endswith("embeddings")
        )
        before = others + sum(each.size for each in masked)
        return before / max(1, others + sum(each.kept for each in masked))

    def render(self) -> str:
        """Returns the report as a table, with colour in a terminal and plain elsewhere."""
        rows = []
        groups = self._by_class()
        for label, group in groups.items():
            grouped = len(groups) < len(self.pruned)
            if grouped:
                rows.append(_row(f"class {label}", group, f"{len(group)} weights"))
            for each in group:
                shape = "x".join(map(str, each.shape))
                rows.append(_row("  " * grouped + each.path, [each], shape, each.pattern))
        total = _row("all masked weights", list(self.pruned), f"{len(self.pruned)} weights")
        lines = [
            f"compression {self.compression():.2f}x over all parameters, "
            f"{self.compression(embeddings=False):.2f}x without embeddings"
        ]
        reasons: dict[str, list[UnprunedWeight]] = {}
        for other in self.unpruned:
            reasons.setdefault(other.reason, []).append(other)
        for reason, others in reasons.items():
            shown = ", ".join(each.path for each in others[:3]) + ", ..." * (len(others) > 3)
            line = f"not pruned, {reason}: {sum(each.size for each in others):,} values in {shown}"
            if reason == filters.OTHER_NAME:
                names = list(dict.fromkeys(each.path.rsplit("/", 1)[-1] for each in others))
                line += f"; to prune them write kprune.wrap(model, include={names})"
            lines.append(line)
        if emptied := [each.path for each in self.pruned if not each.kept]:
            shown = ", ".join(emptied[:3]) + ", ..." * (len(emptied) > 3)
            lines.append(f"no value is left of {shown}")
        if stray := sum(each.stray for each in self.pruned):
            lines.append(f"{stray:,} pruned weights are not zero now: write kprune.project(model)")
        columns = ["weight", "shape", "pattern", "values", "kept", "sparsity"]
        return tables.render(
            f"kprune report of {self.model}", columns, [*rows, total], "\n".join(lines)
        )

    def __str__(self) -> str:
        return self.render()

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain dictionaries, lists, strings and numbers."""
        return {
            "model": self.model,
            "size": self.size,
            "kept": self.kept,
            "sparsity": self.sparsity,
            "compression": self.compression(),
            "compression_without_embeddings": self.compression(embeddings=False),
            "classes": self.classes,
            "pruned": [
                {**dataclasses.asdict(each), "shape": list(each.shape), "sparsity": each.sparsity}
                for each in self.pruned
            ],
            "unpruned": [
                {**dataclasses.asdict(each), "shape": list(each.shape)} for each in self.unpruned
            ],
        }

    def _by_class(self) -> dict[str, list[PrunedWeight]]:
        groups: dict[str, list[PrunedWeight]] = {}
        for each in self.pruned:
            groups.setdefault(each.label, []).append(each)
        return groups


@signatures.explained
def report(model: keras.Model) -> Report:
    """Reports what of a model is pruned, what is not, and why.

    Use it at any time; it changes nothing. A model without masks is reported by its exact zeros,
    so that a stripped model shows what it was pruned to.

    Args:
        model: a built model, wrapped or not.

    Raises:
        TypeError: the model is not of Keras 3.
        ValueError: the model is not built, or was quantized by Keras while it was wrapped.

    Example:
        >>> print(kprune.report(model))
    """
    models.require_layer(model, "kprune.report(model)")
    models.require_built(model, "kprune.report(model)")
    masked_weights.require_kernels(model)
    masked = {id(weight.variable): weight for weight in masked_weights.find(model)}
    prunable, others = filters.find_prunable(model)
    reasons = {id(location.variable): reason for location, reason in others}
    labels = dict(zip(map(id, prunable), filters.labels(prunable, "layer"), strict=True))
    label_of = {id(location.variable): labels[id(location)] for location in prunable}
    located = list(locations.locate(model))
    pruned, unpruned = [], []
    for location, path in zip(located, _distinct_paths(located), strict=True):
        variable, size = location.variable, int(np.prod(location.variable.shape))
        weight = masked.get(id(variable))
        if weight is not None:
            pruned.append(_of_mask(weight, path))
        elif not masked and (id(variable) not in reasons or _is_int8_kernel(location)):
            kept = int(np.count_nonzero(backend.read(variable)))
            label = label_of.get(id(variable), location.place)
            pruned.append(
                PrunedWeight(path, label, location.kind, "", tuple(variable.shape), size, kept, 0)
            )
        else:
            reason = reasons.get(id(variable), "left out by kprune.wrap")
            unpruned.append(UnprunedWeight(path, tuple(variable.shape), size, reason))
    return Report(model.name, tuple(pruned), tuple(unpruned))


def _is_int8_kernel(location: locations.Location) -> bool:
    """Returns whether Keras has quantized a kernel to int8, in which zeros stay zero."""
    is_int8 = models.quantization(location.layer) == "int8" and location.variable.dtype == "int8"
    return is_int8 and filters.KERNEL.search(location.path) is not None


def _distinct_paths(located: Sequence[locations.Location]) -> list[str]:
    """Returns the path of each variable; those of two towers differ by the layers around them."""
    counts = collections.Counter(each.path for each in located)
    full = filters.labels(located, "weight")
    return [
        each.path if counts[each.path] == 1 else name
        for each, name in zip(located, full, strict=True)
    ]


def _of_mask(weight: Weight, path: str) -> PrunedWeight:
    alive = weight.alive()
    kept = int(np.count_nonzero(alive))
    values, masked = weight.values().reshape(-1), alive.reshape(-1)
    pieces = (slice(i, i + scores.PIECE) for i in range(0, values.size, scores.PIECE))
    stray = sum(int(np.count_nonzero((values[at] != 0) > masked[at])) for at in pieces)
    name = type(weight.pattern).__name__.lower()
    arguments = ", ".join(str(value) for value in weight.pattern.get_config().values())
    return PrunedWeight(
        path=path,
        label=weight.label,
        kind=weight.location.kind,
        pattern=f"{name}({arguments})" if arguments else name,
        shape=tuple(weight.variable.shape),
        size=weight.size,
        kept=kept,
        stray=stray,
    )


def _row(name: str, group: list[PrunedWeight], shape: str, pattern: str = "") -> list[str]:
    size, kept = sum(each.size for each in group), sum(each.kept for each in group)
    sparsity = f"{1 - kept / size:.2%}" if size else "-"
    return [name, shape, pattern, f"{size:,}", f"{kept:,}", sparsity]
