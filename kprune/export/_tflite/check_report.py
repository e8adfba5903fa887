"""Reports what `check` found, as a table."""

import dataclasses
from typing import Any

from kprune._support import tables
from kprune.export._tflite.format import encodings


@dataclasses.dataclass(frozen=True)
class WeightCheck:
    """Describes what one weight of a file gains from zeros.

    Args:
        name: the path of the Keras variable, as `kprune.report` shows it and
            `kprune.wrap(include=...)` takes it; the converter's name where it is of no variable.
        encoding: how it will be stored, as in `TensorEncoding`.
        reader: the operator that reads it.
        shape: in TFLite's layout; a Dense kernel is [output, input].
        zeros: the fraction that is zero: of the values, or as assumed where none is.
        dense_bytes: as it is stored densely.
        bytes: in that encoding.
        larger: why it will not be smaller; `None` where it will.
        slower: why it will not be faster on the target; `None` where it will.
        condition: what makes it faster, where it can be.
    """

    name: str
    encoding: str
    reader: str
    shape: tuple[int, ...]
    zeros: float
    dense_bytes: int
    bytes: int
    larger: str | None
    slower: str | None
    condition: str | None


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """Describes what `check` found; `print` shows it as a table.

    Args:
        name: the model's, or the file's.
        target: the target that was asked about.
        quantization: the precision that was asked about.
        weights: the weights one by one.
    """

    name: str
    target: str
    quantization: str | None
    weights: tuple[WeightCheck, ...]

    def render(self) -> str:
        """Returns the report as a table, with the obstacles below it."""
        notes: dict[str, int] = {}

        def note(text: str | None) -> str:
            return "" if text is None else f"({notes.setdefault(text, len(notes) + 1)})"

        rows = []
        for each in self.weights:
            name = encodings.shorten_name(each.name)
            smaller = f"{each.bytes / each.dense_bytes:.0%} {note(each.larger)}".strip()
            faster = f"no {note(each.slower)}" if each.slower else f"yes {note(each.condition)}"
            shape, zeros = "x".join(map(str, each.shape)), f"{each.zeros:.0%}"
            rows.append([name, shape, zeros, f"{each.dense_bytes:,}", smaller, faster])
        columns = ["weight", "shape", "zeros", "dense", "bytes left", "faster"]
        dense = sum(each.dense_bytes for each in self.weights)
        left = sum(each.bytes for each in self.weights)
        lines = [f"({number}) {text}" for text, number in notes.items()]
        lines.append(f"together   {left:,} of {dense:,} bytes")
        title = f'{self.name}, {self.quantization or "float32"}, target="{self.target}"'
        return tables.render(title, columns, rows, "\n".join(lines))

    __str__ = render

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON takes them."""
        return dataclasses.asdict(self)
