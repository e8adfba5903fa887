"""Prunes models of every form, saves and loads them, and prints what was found and what not.

    python -m benchmarks.compatibility.models [--group=layers|hub|applications] [--names=Xception]

Each model is wrapped, trained for one step that prunes it to 50 %, saved, loaded and wrapped again,
loaded in a process without kprune, stripped, and exported to TFLite where TensorFlow's converter
takes the dense model. The tables are those of docs/compatibility.md.
"""

import collections
import dataclasses
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.compatibility import configurations

SPARSITY = 0.5
BATCH = 2
CALIBRATION = 64
# Run without kprune: loads each file and prints the fraction of zeros of each weight.
LOADER = """
import json, sys, warnings
warnings.simplefilter("ignore")
import keras, numpy as np
try:
    import keras_hub
except ImportError:
    pass
assert "kprune" not in sys.modules
found = {}
for path in sys.argv[1:]:
    try:
        weights = keras.saving.load_model(path).weights
        found[path] = [int((np.asarray(each) == 0).sum()) for each in weights]
    except Exception as error:
        found[path] = type(error).__name__ + ": " + " ".join(str(error).split())[:80]
print("RESULT" + json.dumps(found))
"""

GROUP = flags.DEFINE_enum("group", "layers", ["layers", "hub", "applications"], "Which models.")

NAMES = flags.DEFINE_list("names", [], "Which models of the group. Default: all.")


@dataclasses.dataclass
class Row:
    """Describes what happened to a model.

    Args:
        name: of the model.
        found: how many weights have masks.
        skipped: the other float weights of two axes or more: name and reason.
        outcome: "yes", "no kernel", or the first thing that went wrong.
        zeros: of each weight in the file.
        exported: "yes", "dense neither" where the converter refuses the dense model too, or what
            went wrong.
    """

    name: str
    found: int = 0
    skipped: tuple[str, ...] = ()
    outcome: str = "yes"
    zeros: list[int] = dataclasses.field(default_factory=list)
    exported: str = ""

    def render(self) -> str:
        """Returns the row of the table."""
        skipped = ", ".join(
            f"{name} ({count})" if count > 1 else name
            for name, count in collections.Counter(self.skipped).items()
        )
        return f"| {self.name} | {self.found} | {skipped} | {self.outcome} | {self.exported} |"


def attempt(name: str, make: Callable[[], Any], path: str) -> Row:
    """Wraps, trains, saves, loads and strips a model."""
    import keras

    import kprune
    from kprune._keras import walk
    from kprune.export._inputs import inspection

    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    row, stage = Row(name), "build"
    try:
        model = make()
        stage = "wrap"
        if not kprune.report(model).pruned:
            return dataclasses.replace(row, outcome="no kernel")
        # A class a weight: `wrap` would take a kernel of zeros alone, as a small one may become
        # beside a large one, for one that was never trained.
        kprune.wrap(model, classes="weight")
        stage = "step"
        signature = inspection.find_signature(model)
        arrays = signature.draw(np.random.default_rng(0), BATCH)
        (x,) = signature.pack(arrays)
        y = keras.tree.map_structure(np.zeros_like, model(x, training=False))
        model.compile(keras.optimizers.SGD(1e-4), "mse")
        schedule = kprune.schedules.Constant(SPARSITY)
        pruning = kprune.callbacks.Pruning(schedule, allocation="class_uniform")
        model.fit(x, y, BATCH, verbose=0, callbacks=[pruning])
        report = kprune.report(model)
        row.found = len(report.pruned)
        row.skipped = tuple(
            each.path.rsplit("/", 1)[-1]
            for each in report.unpruned
            if len(each.shape) > 1 and "not a kernel by its name" in each.reason
        )
        wanted = round(SPARSITY * report.size)
        if report.size - report.kept != wanted or any(each.stray for each in report.pruned):
            raise AssertionError(f"{report.size - report.kept} zeros of {wanted}")
        stage = "save"
        model.save(path)
        stage = "load"
        again = kprune.wrap(keras.saving.load_model(path))
        pairs = zip(kprune.masked_weights(again), kprune.masked_weights(model), strict=True)
        if not all(np.array_equal(a.alive(), b.alive()) for a, b in pairs):
            raise AssertionError("the masks differ")
        stage = "strip"
        plain = kprune.strip(model)
        if plain is not model or kprune.masked_weights(plain):
            raise AssertionError("masks are left")
        row.zeros = [int((np.asarray(each) == 0).sum()) for each in plain.weights]
        stage = "export"
        if any(isinstance(each, keras.layers.BatchNormalization) for each in walk.layers(plain)):
            # Else a deep untrained network overflows; with two samples it magnifies rounding.
            (many,) = signature.pack(signature.draw(np.random.default_rng(0), CALIBRATION))
            kprune.recalibrate_batch_norm(plain, many)
        row.exported = export(plain)
    except Exception as error:  # the table shows it
        message = " ".join(str(error).split())[:70]
        row.outcome = f"no, {stage}: {type(error).__name__}: {message}"
    return row


def export(model: Any) -> str:
    """Exports to TFLite; returns how that ended."""
    import tensorflow as tf

    import kprune

    with tempfile.TemporaryDirectory() as folder:
        try:
            kprune.export.to_tflite(model, f"{folder}/model.tflite", timing_seconds=0)
            return "yes"
        except kprune.export.ExportError as error:
            if "tolerance" not in str(error):
                ours = f"no: {type(error).__name__}: {' '.join(str(error).split())[:70]}"
            else:  # weights at random may magnify rounding, from a layer to the next
                path = f"{folder}/model.tflite"
                found = kprune.export.to_tflite(model, path, tolerance=0.01, timing_seconds=0)
                away = found.max_difference / found.tolerance / 100
                return f"yes, {away:.0e} of the largest output away"
        except Exception as error:
            ours = f"no: {type(error).__name__}: {' '.join(str(error).split())[:70]}"
        try:
            model.export(f"{folder}/saved", verbose=False)
            tf.lite.TFLiteConverter.from_saved_model(f"{folder}/saved").convert()
        except Exception:
            return "dense neither"
    return ours


def load_without_kprune(rows: dict[str, Row]) -> None:
    """Loads the files in a process without kprune, and notes which of them differ."""
    paths = [path for path, row in rows.items() if row.outcome == "yes"]
    if not paths:
        return
    done = subprocess.run(
        [sys.executable, "-c", LOADER, *paths], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.split("RESULT")[-1])
    for path in paths:
        if found[path] != rows[path].zeros:
            why = found[path] if isinstance(found[path], str) else "other weights"
            rows[path].outcome = f"no, load without kprune: {why}"


def try_all(models: Iterator[tuple[str, Callable[[], Any]]]) -> list[Row]:
    """Tries models one after another, and those that were saved without kprune at the end."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = {}
        for number, (name, make) in enumerate(models):
            path = str(Path(folder, f"{number}.keras"))
            rows[path] = attempt(name, make, path)
            print(rows[path].render(), file=sys.stderr, flush=True)
        load_without_kprune(rows)
    return list(rows.values())


def main(_: list[str]) -> None:
    """Tries every model of a group and prints a table."""
    models = configurations.GROUPS[GROUP.value]()
    chosen = (each for each in models if not NAMES.value or each[0] in NAMES.value)
    rows = try_all(chosen)
    print("| | masks | other matrices | prunes, saves, loads, strips | TFLite |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(row.render())
    print(f"\n{sum(row.outcome == 'yes' for row in rows)} of {len(rows)}")


if __name__ == "__main__":
    app.run(main)
