"""Measures how time and memory grow with the parameters and with the layers of a model.

    python -m benchmarks.speed.scale --json=scale.json
    python -m benchmarks.speed.scale --large        # 400 million parameters, 8 GB of memory

Times: `wrap`, a mask update, `report` and `strip` of networks of 1, 4 and 16 times as many
parameters in the same layers, and of 1, 4 and 16 times as many layers of the same size, each in a
process of its own. Memory: the peak while a network is wrapped, trained for a step and pruned.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 5, "repetitions of each time", lower_bound=1)
flags.DEFINE_bool("large", False, "measure the memory of a large network in place of the times")
flags.DEFINE_integer("width", 7072, "units of each of the eight layers of the large network")
flags.DEFINE_string("json", None, "file for the results; none by default")
flags.DEFINE_list("only", None, "measure layers,width here and print it; used internally")

FACTORS = 1, 4, 16


def network(layers: int, width: int) -> Any:
    """Returns a compiled network of dense layers without biases."""
    import keras

    dense = [keras.layers.Dense(width, use_bias=False) for _ in range(layers)]
    model = keras.Sequential([keras.Input((width,)), *dense])
    model.compile("adam", "mse")
    return model


def measure_times(layers: int, width: int) -> dict[str, float]:
    """Returns the median seconds of each operation."""
    import kprune

    seconds: dict[str, list[float]] = {}
    model = network(layers, width)
    for turn in range(FLAGS.rounds + 1):  # the first one imports and allocates
        operations = {
            "wrap": lambda: kprune.wrap(model),
            "update": lambda sparsity=0.5 + turn / 100: kprune.prune(model, sparsity),
            "report": lambda: kprune.report(model),
            "strip": lambda: kprune.strip(model),
        }
        for name, run in operations.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds.setdefault(name, []).append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def measure_memory(width: int) -> dict[str, float]:
    """Returns the peak of memory in each phase, in parts of the model and the optimizer's state."""
    import kprune
    from benchmarks.parts import memory

    model = network(8, width)
    model.optimizer.build(model.trainable_variables)
    size = 4 * (model.count_params() + sum(np.prod(v.shape) for v in model.optimizer.variables))
    x = np.random.default_rng(0).normal(size=(8, width)).astype("float32")
    found = {"parameters": float(model.count_params()), "bytes": float(size)}
    phases = {
        "dense step": lambda: model.train_on_batch(x, x),
        "wrap": lambda: kprune.wrap(model),
        "update": lambda: kprune.prune(model, 0.8),
        "masked step": lambda: model.train_on_batch(x, x),
    }
    for name, run in phases.items():
        with memory.measure_memory() as measured:
            run()
        found[name] = measured.extra / size
    return found


def run_here(*arguments: str) -> Any:
    """Runs this program in a process of its own; returns what it prints."""
    command = [sys.executable, "-m", __spec__.name, *arguments, f"--rounds={FLAGS.rounds}"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(_: list[str]) -> None:
    """Measures and prints a table."""
    if FLAGS.only:
        layers, width = map(int, FLAGS.only)
        print(json.dumps(measure_memory(width) if FLAGS.large else measure_times(layers, width)))
        return
    from benchmarks.parts import results
    from kprune._support import tables

    if FLAGS.large:
        found = run_here("--large", f"--only=8,{FLAGS.width}")
        rows = [[name, f"{found[name]:.2f}"] for name in list(found)[2:]]
        title = f"Memory above the model, {found['parameters']:,.0f} parameters with Adam"
        footer = "peak above what was held before, in parts of model and optimizer"
        print(tables.render(title, ["phase", "part"], rows, footer))
        results.save(FLAGS.json, found)
        return
    rows, found = [], {}
    for what in ("parameters", "layers"):
        for factor in FACTORS:
            layers, width = (
                (8, 512 * round(factor**0.5))
                if what == "parameters"
                else (
                    8 * factor,
                    128,
                )
            )
            seconds = run_here(f"--only={layers},{width}")
            found[f"{what} x {factor}"] = seconds
            base = found[f"{what} x 1"]
            cells = [f"{1e3 * s:.1f} ({s / base[name]:.1f}x)" for name, s in seconds.items()]
            rows.append([f"{what} x {factor}", f"{layers} x {width}", *cells])
    columns = ["network", "layers", "wrap ms", "update ms", "report ms", "strip ms"]
    print(tables.render("Time by size, class-blind by magnitude", columns, rows))
    results.save(FLAGS.json, found)


if __name__ == "__main__":
    app.run(main)
