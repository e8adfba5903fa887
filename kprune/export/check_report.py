"""What `check` found, as a table."""

import dataclasses
from typing import Any

from kprune._support import tables
from kprune.export._tflite import encodings


@dataclasses.dataclass(frozen=True)
class WeightCheck:
    """What one weight of a file gains.

    Args:
        name: the path of the Keras variable that it holds, which `kprune.wrap(include=)` takes;
            else the converter's name for it.
        reader: the operator that takes it in.
        shape: in TFLite's layout; a Dense kernel is [output, input].
        zeros: the fraction that is zero: what is there, or what was asked for where none is.
        dense_bytes: as it is stored densely.
        bytes: in its smallest encoding that is read right.
        larger: why it will not be smaller; `None` where it will.
        slower: why it will not be faster on the target; `None` where it will.
        condition: what makes it faster, where it can be.
    """

    name: str
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
    """What `check` found; `print` shows it as a table.

    Args:
        name: the model's, or the file's.
        target: what was asked about.
        quantization: the precision that was asked about.
        weights: the weights one by one.
    """

    name: str
    target: str
    quantization: str | None
    weights: tuple[WeightCheck, ...]

    def render(self) -> str:
        """Returns the report as a table, with what is in the way below it."""
        notes: dict[str, int] = {}

        def note(text: str | None) -> str:
            return "" if text is None else f"({notes.setdefault(text, len(notes) + 1)})"

        rows = []
        for each, name in zip(
            self.weights, encodings.short([each.name for each in self.weights]), strict=True
        ):
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
