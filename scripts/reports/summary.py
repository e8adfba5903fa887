"""Formats the results of `prune_image_classifier.py` as a table, and writes them as JSON."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

import kprune
from kprune._support import tables
from reports import results
from reports.deployment import File
from training.trade_off import Step

FORMATS = {"keras": "Keras", "saved_model": "SavedModel", "tflite none": "TFLite float32"}


@dataclasses.dataclass(frozen=True)
class Trained:
    """How long a Keras model was trained, and its accuracy.

    Args:
        what: "trained", "loaded", "trained on" or "pruned".
        epochs: that this run trained it for, from the start of the model that it began with.
        accuracy: on the test images, in [0, 1].
    """

    what: str
    epochs: int
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """The contents of the table and of the JSON file.

    Args:
        title: above the table.
        tested_on: "test", or "validation" where a part of the training images was held out.
        dense: the model before pruning, and after as many epochs as the pruned one where it was
            trained on. The pruned model is compared with the best of them.
        pruned: the model after fine-tuning.
        report: of the pruned model.
        steps: of the schedule.
        dense_files: of the best dense model.
        pruned_files: in the same formats.
        seconds: of each part of the run.
    """

    title: str
    tested_on: str
    dense: Sequence[Trained]
    pruned: Trained
    report: kprune.Report
    steps: Sequence[Step]
    dense_files: Sequence[File]
    pruned_files: Sequence[File]
    seconds: Mapping[str, float]

    @property
    def best_dense(self) -> Trained:
        """The most accurate dense model: choosing it on the test images can only favour it."""
        return max(self.dense, key=lambda each: each.accuracy)

    def render(self) -> str:
        """Formats the table."""
        what = f"{self.tested_on} accuracy"
        rows = [
            [f"{what}, {each.what}, {each.epochs} epochs", _percent(each.accuracy), "", ""]
            for each in self.dense
        ]
        epochs = f"{what}, pruned, {self.pruned.epochs} epochs"
        change = _points(self.pruned.accuracy - self.best_dense.accuracy)
        rows.append([epochs, "", _percent(self.pruned.accuracy), change])
        for label, kept, size in [*kept_by_class(self.report), self._all()]:
            rows.append([f"weights kept, {label}", *_counts(size, kept)])
        for words, embeddings in (("with", True), ("without", False)):
            factor = f"{self.report.compression(embeddings):.2f}x"
            rows.append([f"compression of all parameters, {words} embeddings", "", "", factor])
        for dense, pruned in zip(self.dense_files, self.pruned_files, strict=True):
            name = FORMATS.get(pruned.format, pruned.format.replace("tflite", "TFLite"))
            change = _points(pruned.accuracy - dense.accuracy)
            accuracies = _percent(dense.accuracy), _percent(pruned.accuracy)
            rows.append([f"{name}: {what}", *accuracies, change])
            rows.append([f"{name}: bytes", *_counts(dense.bytes, pruned.bytes)])
            rows.append([f"{name}: bytes, gzip", *_counts(dense.gzip_bytes, pruned.gzip_bytes)])
        columns = ["", "dense", "pruned", "change"]
        return tables.render(self.title, columns, rows, self._footer())

    __str__ = render

    def to_dict(self) -> dict[str, Any]:
        """Returns the table's content as values that JSON can hold."""
        fields = {
            name: keras.tree.map_structure(_plain, getattr(self, name))
            for name in ("title", "tested_on", "seconds")
        }
        for name in ("dense", "steps", "dense_files", "pruned_files"):
            fields[name] = [dataclasses.asdict(each) for each in getattr(self, name)]
        return {
            **fields,
            "pruned": dataclasses.asdict(self.pruned),
            "report": self.report.to_dict(),
            "kept_by_class": {
                label: {"kept": kept, "size": size}
                for label, kept, size in kept_by_class(self.report)
            },
        }

    def save(self, path: Path, flags: Mapping[str, Any]) -> None:
        """Writes the summary, the flags and the versions as JSON."""
        content = {
            **self.to_dict(),
            "flags": dict(flags),
            "command": sys.argv,
            "versions": results.list_versions(),
        }
        results.write_results(path, content)

    def _all(self) -> tuple[str, int, int]:
        return "all classes", self.report.kept, self.report.size

    def _footer(self) -> str:
        line = (
            f"change: points of accuracy, or dense / pruned; accuracy against the best dense "
            f"model, {self.best_dense.what} for {self.best_dense.epochs} epochs"
        )
        spent = ", ".join(f"{what} {each:.0f} s" for what, each in self.seconds.items())
        return f"{line}\ntime: {spent}"


def kept_by_class(report: kprune.Report) -> list[tuple[str, int, int]]:
    """Returns each class of masked weights with how many are kept of how many."""
    kept, size = dict.fromkeys(report.classes, 0), dict.fromkeys(report.classes, 0)
    for weight in report.pruned:
        kept[weight.label] += weight.kept
        size[weight.label] += weight.size
    return [(label, kept[label], size[label]) for label in kept]


def _percent(accuracy: float) -> str:
    return f"{100 * accuracy:.2f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}"


def _counts(dense: int, pruned: int) -> tuple[str, str, str]:
    return f"{dense:,}", f"{pruned:,}", f"{dense / max(1, pruned):.2f}x"


def _plain(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
