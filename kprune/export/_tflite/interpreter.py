"""Runs .tflite files in TensorFlow's or LiteRT's interpreter, outside the process that asks.

Some files crash the process that loads them, so none is run in the process that made it. This
program is started by its path and imports nothing of kprune, Keras or TensorFlow's top level: the
interpreter alone loads in 0.3 s, where `import tensorflow` takes three to ten.

    python interpreter.py tensorflow

It loads the interpreter once, prints `{"forks": true}`, and then answers requests, a line of JSON
each, with a line of JSON, until its stdin is closed:

    ["run", "model.tflite", "inputs.npz", "outputs.npz", true]
    ["compare_latency", "inputs.npz", 0.5, 1, "first.tflite", "second.tflite"]

`run` writes what a file computes; the last argument is whether XNNPACK is on, as it is by default.
`compare_latency` times files in turn, call by call, for some seconds, with some threads.
inputs.npz holds one array under "run/name" for each run and input; outputs.npz gets the same for
each output.

An answer is `{"result": ...}`, `{"error": "ValueError: ..."}`, or `{"signal": 11}` where the file
crashed the interpreter. On Linux each request is answered by a fork of this process, so no file
meets what an earlier one left behind, and memory is measured from the same start each time.
Elsewhere it prints `{"forks": false}`, answers one request and ends.
"""

import contextlib
import importlib.util
import json
import os
import re
import select
import signal
import sys
import tempfile
import time
import types
import warnings
from pathlib import Path
from typing import IO, Any

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


def run(module: Any, model: str, inputs: str, outputs: str, xnnpack: bool) -> dict[str, Any]:
    """Runs a file on every run of `inputs` and writes what came out to `outputs`.

    Returns how long it took to load, and by how much the memory grew at its peak.
    """
    runs, kernels = read(inputs), module.OpResolverType
    before, start = memory(), time.perf_counter()
    interpreter = module.Interpreter(
        model_path=model,
        experimental_op_resolver_type=kernels.AUTO
        if xnnpack
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
    module: Any, inputs: str, seconds: float, threads: int, *models: str
) -> dict[str, Any]:
    """Times one call of each file in turn, again and again, and returns the seconds of each."""
    values = next(iter(read(inputs).values()))
    runners = []
    for model in models:
        interpreter = module.Interpreter(model_path=model, num_threads=threads)
        details = interpreter.get_signature_runner().get_input_details()
        for name, detail in details.items():
            interpreter.resize_tensor_input(detail["index"], values[name].shape)
        interpreter.allocate_tensors()
        for name, detail in details.items():
            interpreter.set_tensor(detail["index"], values[name])
        interpreter.invoke()
        runners.append(interpreter)
    times: list[list[float]] = [[] for _ in models]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 3:
        for runner, taken in zip(runners, times, strict=True):
            start = time.perf_counter()
            runner.invoke()
            taken.append(time.perf_counter() - start)
    return {"seconds": times}


def memory(peak: bool = False) -> int | None:
    """Returns the memory of this process now, or at its peak; `None` where it is not Linux.

    The code of shared libraries is left out: how much of it is loaded does not depend on the file.
    """
    try:
        status = Path("/proc/self/status").read_text()
        mappings = Path("/proc/self/smaps").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+)" if peak else r"VmRSS:\s+(\d+)", status)
    code = re.findall(r"\.so\S*\nSize:[^\n]*\n(?:[A-Z]\w+:[^\n]*\n)*?Rss:\s+(\d+)", mappings)
    return (int(found[1]) - sum(map(int, code))) * 1024 if found else None


def answer(module: Any, request: list[Any]) -> dict[str, Any]:
    """Returns the result of a request, or the error that it ended with."""
    command, *arguments = request
    function = run if command == "run" else compare_latency
    try:
        return {"result": function(module, *arguments)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def answer_in_a_fork(module: Any, request: list[Any]) -> dict[str, Any]:
    """Answers a request in a child process; one that is killed is an answer too."""
    receiving, sending = os.pipe()
    with tempfile.TemporaryFile() as log, open(receiving, "rb") as pipe:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                with open(sending, "w") as made:
                    json.dump(answer(module, request), made)
                status = 0
            finally:
                os._exit(status)
        os.close(sending)
        # The process that asks says nothing before it has an answer: stdin is at its end.
        if sys.stdin in select.select([pipe, sys.stdin], [], [])[0]:
            os.kill(child, signal.SIGKILL)
        content, (_, status) = pipe.read(), os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return {"signal": os.WTERMSIG(status)}
        if status:
            log.seek(0)
            return {"error": last_line(log)}
    return dict(json.loads(content))


def last_line(log: IO[bytes]) -> str:
    """Returns the last line of a log that is not empty."""
    lines = log.read().decode(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "no message")


def serve(runtime: str) -> None:
    """Answers the requests on stdin."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what interpreters print is no answer
    forks = sys.platform == "linux"
    try:
        module = load(runtime)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers)
        return
    print(json.dumps({"forks": forks}), file=answers)
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        made = answer_in_a_fork(module, request) if forks else answer(module, request)
        print(json.dumps(made), file=answers)
        if not forks:
            return


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the interpreter's class announces its move to LiteRT
    with contextlib.suppress(BrokenPipeError):  # the process that asked is gone
        serve(sys.argv[1])
