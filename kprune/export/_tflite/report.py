"""Reports what was written to a .tflite file, tensor by tensor."""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from kprune._support import tables
from kprune.export._tflite import trial
from kprune.export._tflite.format import encodings


@dataclasses.dataclass(frozen=True)
class Cost:
    """Describes what loading a file costs.

    Args:
        runtime: "tensorflow" or "litert".
        load_seconds: from the file to allocated tensors, zeros unpacked.
        peak_bytes: by how much the process grew at most; `None` where the system does not say.
        dense_load_seconds: the same for the file with its zeros stored; `None` where none was made.
        dense_peak_bytes: the same for the file with its zeros stored.
    """

    runtime: str
    load_seconds: float
    peak_bytes: int | None
    dense_load_seconds: float | None = None
    dense_peak_bytes: int | None = None

    @classmethod
    def of(cls, runtime: str, run: trial.Run, dense: trial.Run | None) -> "Cost":
        """Returns what two runs took."""
        return cls(
            runtime,
            run.load_seconds,
            run.peak_bytes,
            dense.load_seconds if dense else None,
            dense.peak_bytes if dense else None,
        )


@dataclasses.dataclass(frozen=True)
class Latency:
    """Describes how long a call takes, sparse and dense in turn on this machine.

    Args:
        seconds: the median for the sparse file.
        dense_seconds: the median for the dense file.
        ratio: the median of sparse by dense, pair by pair.
        spread: the quartiles of these ratios.
        calls: how many pairs there were.
    """

    seconds: float
    dense_seconds: float
    ratio: float
    spread: tuple[float, float]
    calls: int

    @classmethod
    def of(cls, sparse: Sequence[float], dense: Sequence[float]) -> "Latency":
        """Returns the medians of calls made in turn."""
        ratios = [a / b for a, b in zip(sparse, dense, strict=True)]
        quartiles = statistics.quantiles(ratios, n=4)
        return cls(
            statistics.median(sparse),
            statistics.median(dense),
            quartiles[1],
            (quartiles[0], quartiles[2]),
            len(ratios),
        )


@dataclasses.dataclass(frozen=True)
class TFLiteReport:
    """Describes what `to_tflite` wrote.

    `print` shows it as a table; `to_dict` gives it to JSON.

    Args:
        path: the file.
        quantization: `None` for float32, "float16", "dynamic", "int8" or "int16x8".
        target: the target that it was made for.
        bytes: the size of the file.
        gzip_bytes: the size after gzip, as an application package ships it.
        dense_bytes: the size of the same file with its zeros stored; `None` where none was made.
        dense_gzip_bytes: the same after gzip.
        tensors: how each constant is stored.
        costs: what loading takes, for each interpreter in which the file was run.
        latency: what a call takes; `None` where no sparse file was timed.
        max_difference: the largest difference from the Keras model's outputs.
        tolerance: the largest difference that would have been accepted.
        batch_size: the fixed batch; `None` where it is free.
    """

    path: str
    quantization: str | None
    target: str
    bytes: int
    gzip_bytes: int
    dense_bytes: int | None
    dense_gzip_bytes: int | None
    tensors: tuple[encodings.TensorEncoding, ...]
    costs: tuple[Cost, ...]
    latency: Latency | None
    max_difference: float
    tolerance: float
    batch_size: int | None

    def render(self) -> str:
        """Returns the report as a table: weights one by one, and the other constants together."""
        weights = [each for each in self.tensors if len(each.shape) > 1]
        rest = [each for each in self.tensors if len(each.shape) <= 1]
        names = [encodings.shorten_name(each.name) for each in weights]
        reasons = list(dict.fromkeys(each.reason for each in weights if each.reason))
        rows = [
            [
                name,
                "x".join(map(str, each.shape)),
                each.dtype,
                f"{each.sparsity:.0%}",
                f"{each.dense_bytes:,}",
                f"{each.bytes:,}",
                _storage(each) + (f" ({reasons.index(each.reason) + 1})" if each.reason else ""),
            ]
            for name, each in zip(names, weights, strict=True)
        ]
        if rest:
            dense, here = (
                sum(getattr(each, key) for each in rest) for key in ("dense_bytes", "bytes")
            )
            name = f"biases and other constants ({len(rest)})"
            rows.append([name, "", "", "", f"{dense:,}", f"{here:,}", ""])
        columns = ["tensor", "shape", "type", "zeros", "dense", "bytes", "stored"]
        notes = [f"({index}) {reason}" for index, reason in enumerate(reasons, start=1)]
        return tables.render(self.path, columns, rows, "\n".join([*notes, *self._lines()]))

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
            if self.gzip_bytes > self.dense_gzip_bytes:
                lines.append("           smaller inside a compressed package: write sparse=False")
        batch = "free" if self.batch_size is None else str(self.batch_size)
        lines.append(f"computes   {self.quantization or 'float32'}, batch {batch}")
        lines += [f"in {each.runtime:<11}" + _cost(each) for each in self.costs]
        if self.latency is not None:
            lines.append(_latency(self.latency))
        lines.append(
            f"verified   {self.max_difference:.1e} from the Keras model, "
            f"{self.tolerance:.1e} allowed"
        )
        return lines


def _cost(cost: Cost) -> str:
    parts = [f"loads in {cost.load_seconds * 1e3:.1f} ms"]
    if cost.dense_load_seconds is not None:
        parts[-1] += f" (dense {cost.dense_load_seconds * 1e3:.1f})"
    if cost.peak_bytes is not None:
        parts.append(f"peak {cost.peak_bytes / 1e6:.1f} MB")
        if cost.dense_peak_bytes is not None:
            parts[-1] += f" (dense {cost.dense_peak_bytes / 1e6:.1f})"
    return ", ".join(parts)


def _latency(latency: Latency) -> str:
    low, high = latency.spread
    return (
        f"a call     {latency.seconds * 1e3:.3g} ms (dense {latency.dense_seconds * 1e3:.3g}), "
        f"{latency.ratio:.2f} of it; half of {latency.calls} pairs in {low:.2f}-{high:.2f}"
    )


def _storage(tensor: encodings.TensorEncoding) -> str:
    block = "x".join(map(str, tensor.block)) + " blocks, " if tensor.block else ""
    return block + tensor.encoding
