"""Runs .tflite files in TensorFlow's or LiteRT's interpreter, as a program of its own.

Some files crash the process that loads them, so none is run in the process that made it. This
program is started by its path and imports nothing of kprune, Keras or TensorFlow's top level: the
interpreter alone loads in 0.1 s, where `import tensorflow` takes three to ten.

    python interpreter.py run tensorflow model.tflite inputs.npz outputs.npz True
    python interpreter.py compare_latency litert inputs.npz 0.5 1 first.tflite second.tflite

`run` writes what a file computes; the last argument is whether XNNPACK is on, as it is by default.
`compare_latency` times files in turn, call by call, for some seconds, with some threads. Both print
JSON.
inputs.npz holds one array under "run/name" for each run and input; outputs.npz gets the same for
each output. An error of the interpreter is the last line on stderr, with status 1.
"""

import importlib.util
import json
import re
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np


def load(runtime: str) -> Any:
    """Returns the module of an interpreter, and no more than it needs.

    The two packages above TensorFlow's import all of it when they are initialised, so bare modules
    with the same search path stand in for them.
    """
    if runtime == "litert":
        return importlib.import_module("ai_edge_litert.interpreter")
    try:
        for name in ("tensorflow", "tensorflow.python"):
            spec = importlib.util.find_spec(name)
            assert spec is not None
            package = types.ModuleType(name)
            package.__path__ = list(spec.submodule_search_locations or ())
            sys.modules[name] = package
        return importlib.import_module("tensorflow.lite.python.interpreter")
    except Exception:  # another TensorFlow, arranged in another way: take all of it
        for name in [name for name in sys.modules if name.split(".")[0] == "tensorflow"]:
            del sys.modules[name]
        return importlib.import_module("tensorflow.lite.python.interpreter")


def read(inputs: str) -> dict[str, dict[str, Any]]:
    """Returns the arrays of each run."""
    runs: dict[str, dict[str, Any]] = {}
    with np.load(inputs, allow_pickle=True) as arrays:
        for key in arrays.files:
            run, name = key.split("/", 1)
            value = arrays[key]
            text = value.dtype == object
            runs.setdefault(run, {})[name] = value.astype(np.bytes_) if text else value
    return runs


def run(runtime: str, model: str, inputs: str, outputs: str, xnnpack: str) -> dict[str, Any]:
    """Runs a file on every run of `inputs` and writes what came out to `outputs`.

    Returns how long it took to load, and by how much the memory grew at its peak.
    """
    module, runs = load(runtime), read(inputs)
    kernels = module.OpResolverType
    before, start = memory(), time.perf_counter()
    interpreter = module.Interpreter(
        model_path=model,
        experimental_op_resolver_type=kernels.AUTO
        if xnnpack == "True"
        else kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    seconds = time.perf_counter() - start
    signature = interpreter.get_signature_runner()
    details = signature.get_input_details()
    results = {}
    peak = None
    for key, values in runs.items():
        # The converter drops inputs that reach no output.
        given = {name: value for name, value in values.items() if name in details}
        for name, value in signature(**given).items():
            results[f"{key}/{name}"] = value
        if peak is None:
            after = memory(peak=True)
            peak = None if after is None or before is None else max(0, after - before)
    np.savez(outputs, **results)
    return {"load_seconds": seconds, "peak_bytes": peak}


def compare_latency(
    runtime: str, inputs: str, seconds: str, threads: str, *models: str
) -> dict[str, Any]:
    """Times one call of each file in turn, again and again, and returns the seconds of each."""
    module, runs = load(runtime), read(inputs)
    values = next(iter(runs.values()))
    runners = []
    for model in models:
        interpreter = module.Interpreter(model_path=model, num_threads=int(threads))
        details = interpreter.get_signature_runner().get_input_details()
        for name, detail in details.items():
            interpreter.resize_tensor_input(detail["index"], values[name].shape)
        interpreter.allocate_tensors()
        for name, detail in details.items():
            interpreter.set_tensor(detail["index"], values[name])
        interpreter.invoke()
        runners.append(interpreter)
    times: list[list[float]] = [[] for _ in models]
    end = time.perf_counter() + float(seconds)
    while time.perf_counter() < end or len(times[0]) < 3:
        for runner, taken in zip(runners, times, strict=True):
            start = time.perf_counter()
            runner.invoke()
            taken.append(time.perf_counter() - start)
    return {"seconds": times}


def memory(peak: bool = False) -> int | None:
    """Returns the memory of this process now, or at its peak; `None` where it is not Linux."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+)" if peak else r"VmRSS:\s+(\d+)", status)
    return int(found[1]) * 1024 if found else None


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the interpreter's class announces its move to LiteRT
    try:
        command, *arguments = sys.argv[1:]
        print(json.dumps((run if command == "run" else compare_latency)(*arguments)))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}".replace("\n", " "))
