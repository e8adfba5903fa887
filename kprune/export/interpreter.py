"""A program that runs a .tflite file in the stock interpreter, in a process of its own.

TensorFlow's converter writes some files that kill the process that loads them (float16 weights in
blocks of four are read as float32, far past their end), so no file is run by the process that
made it. This program is started by its path and imports nothing of kprune, Keras or TensorFlow's
top level: the interpreter alone loads in 0.1 s, where `import tensorflow` takes three to ten.

    python interpreter.py model.tflite inputs.npz outputs.npz True

The last argument is whether XNNPACK is on, as it is by default. inputs.npz holds one array under
"run/name" for each run and input; outputs.npz gets the same for each output. An error of the
interpreter is the last line on stderr, with status 1.
"""

import importlib.util
import sys
import types
import warnings
from typing import Any

import numpy as np


def load() -> Any:
    """Returns TensorFlow's module `tensorflow.lite.python.interpreter`, and no more than it needs.

    The two packages above it import all of TensorFlow when they are initialised, so bare modules
    with the same search path stand in for them.
    """
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


def main(model: str, inputs: str, outputs: str, xnnpack: str) -> None:
    """Runs `model` on every run of `inputs` and writes what came out to `outputs`."""
    warnings.simplefilter("ignore")  # the interpreter's class announces its move to LiteRT
    module = load()
    kernels = module.OpResolverType
    interpreter = module.Interpreter(
        model_path=model,
        experimental_op_resolver_type=kernels.AUTO
        if xnnpack == "True"
        else kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    signature = interpreter.get_signature_runner()
    details = signature.get_input_details()
    runs: dict[str, dict[str, Any]] = {}
    with np.load(inputs, allow_pickle=True) as arrays:
        for key in arrays.files:
            run, name = key.split("/", 1)
            runs.setdefault(run, {})[name] = arrays[key]
    results = {}
    for run, values in runs.items():
        arguments = {
            name: value.astype(np.bytes_) if value.dtype == object else value
            for name, value in values.items()
            if name in details  # the converter drops inputs that reach no output
        }
        for name, value in signature(**arguments).items():
            results[f"{run}/{name}"] = value
    np.savez(outputs, **results)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}".replace("\n", " "))
