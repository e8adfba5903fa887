"""Runs a .tflite file twice in LiteRT on one thread; `emulation.py` counts the second run.

    python invocation.py model.tflite

It runs on the emulated processor, where only NumPy and LiteRT are installed. The first run packs
weights and finds the caches empty; `os.getppid()` marks the beginning and the end of the second.
"""

import os
import sys

import numpy as np


def main(path: str) -> None:
    """Invokes the model on N(0, 1), and says whether what came out are numbers."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    random = np.random.default_rng(0)
    for each in interpreter.get_input_details():
        values = random.standard_normal(each["shape"]).astype(each["dtype"])
        interpreter.set_tensor(each["index"], values)
    interpreter.invoke()
    os.getppid()
    interpreter.invoke()
    os.getppid()
    for each in interpreter.get_output_details():
        assert np.isfinite(interpreter.get_tensor(each["index"])).all(), each["name"]


if __name__ == "__main__":
    main(sys.argv[1])
