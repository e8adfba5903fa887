"""What was written to a .tflite file, tensor by tensor."""

import dataclasses
import os
from typing import Any

from kprune import tables
from kprune.export import encodings


@dataclasses.dataclass(frozen=True)
class TFLiteReport:
    """What `to_tflite` wrote.

    `print` shows it as a table; `to_dict` gives it to JSON.

    Args:
        path: the file.
        quantization: `None` for float32, "float16", "dynamic" or "int8".
        bytes: of the file.
        gzip_bytes: of the file after gzip, as an application package ships it.
        dense_bytes: of the same file with its zeros stored; `None` where none was made.
        dense_gzip_bytes: the same after gzip.
        tensors: how each constant is stored.
        max_difference: the largest difference from the Keras model's outputs.
        tolerance: the largest difference that would have been accepted.
        batch_size: the fixed batch; `None` where it is free.
    """

    path: str
    quantization: str | None
    bytes: int
    gzip_bytes: int
    dense_bytes: int | None
    dense_gzip_bytes: int | None
    tensors: tuple[encodings.TensorEncoding, ...]
    max_difference: float
    tolerance: float
    batch_size: int | None

    def render(self) -> str:
        """Returns the report as a table: weights one by one, and the other constants together."""
        weights = [each for each in self.tensors if len(each.shape) > 1]
        rest = [each for each in self.tensors if len(each.shape) <= 1]
        names = _short([each.name for each in weights])
        rows = [
            [
                name,
                "x".join(map(str, each.shape)),
                each.dtype,
                f"{each.sparsity:.0%}",
                f"{each.bytes:,}",
                _storage(each),
            ]
            for name, each in zip(names, weights, strict=True)
        ]
        if rest:
            total = f"{sum(each.bytes for each in rest):,}"
            rows.append([f"biases and other constants ({len(rest)})", "", "", "", total, "dense"])
        columns = ["tensor", "shape", "type", "zeros", "bytes", "stored"]
        return tables.render(self.path, columns, rows, "\n".join(self._lines()))

    __str__ = render

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON takes them."""
        return dataclasses.asdict(self)

    def _lines(self) -> list[str]:
        lines = [f"file       {self.bytes:,} bytes, {self.gzip_bytes:,} after gzip"]
        if self.dense_bytes is not None and self.dense_gzip_bytes is not None:
            lines.append(
                f"dense      {self.dense_bytes:,} bytes, {self.dense_gzip_bytes:,} after gzip; "
                f"this file is {self.bytes / self.dense_bytes:.0%} of it"
            )
            if self.bytes > self.dense_bytes:
                lines.append("           smaller, and to be preferred: write sparse=False")
            elif self.gzip_bytes > self.dense_gzip_bytes:
                lines.append("           smaller inside a compressed package: write sparse=False")
        batch = "free" if self.batch_size is None else str(self.batch_size)
        lines.append(f"computes   {self.quantization or 'float32'}, batch {batch}")
        lines.append(
            f"verified   {self.max_difference:.1e} from the Keras model, "
            f"{self.tolerance:.1e} allowed"
        )
        return lines


def _short(names: list[str]) -> list[str]:
    """Leaves out the name of the model, and all but the first of operators fused in one."""
    first = [name.split(";")[0] for name in names]
    paths = [name for name in first if "/" in name]
    shared = os.path.commonprefix(paths) if len(paths) > 1 else ""
    return [name.removeprefix(shared[: shared.rfind("/") + 1]) for name in first]


def _storage(tensor: encodings.TensorEncoding) -> str:
    block = "x".join(map(str, tensor.block)) + " blocks, " if tensor.block else ""
    return block + tensor.encoding
