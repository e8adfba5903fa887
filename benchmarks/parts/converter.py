"""Writes sparse .tflite files with TensorFlow's own converter, and checks them."""

import pathlib
import warnings
from typing import Any

import keras
import tensorflow as tf

from kprune.export import _verification
from kprune.export._tflite import trial


def convert_sparse(
    model: keras.Model, inputs: Any, quantization: str | None, directory: pathlib.Path
) -> dict[str, Any]:
    """Returns the bytes of the converter's sparse file, and a verdict.

    Args:
        model: pruned.
        inputs: the first 16 calibrate int8, the next two are run.
        quantization: "float16", "dynamic", "int8" or `None`.
        directory: for the files.
    """
    contents = []
    sparsity = tf.lite.Optimize.EXPERIMENTAL_SPARSITY
    loops = any(isinstance(each, keras.layers.RNN) for each in model._flatten_layers())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec = [tf.TensorSpec((1 if loops else None, *inputs.shape[1:]), inputs.dtype)]
        model.export(directory / "saved", verbose=False, input_signature=spec)
        for sparse in (False, True):
            converter = tf.lite.TFLiteConverter.from_saved_model(str(directory / "saved"))
            converter.optimizations = [tf.lite.Optimize.DEFAULT] if quantization else []
            if sparse:
                converter.optimizations.append(sparsity)
            if quantization == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if quantization == "int8":
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
                converter.representative_dataset = lambda: ([x[None]] for x in inputs[:16])
            try:
                contents.append(converter.convert())
            except Exception as error:
                return {"converter": None, "verdict": f"fails: {str(error)[:80]}"}
    paths = [directory / "dense.tflite", directory / "converter.tflite"]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    name = next(iter(_input_names(paths[0])))
    runs = [{name: inputs[index : index + 1]} for index in (16, 17)]
    verdict = "right"
    try:
        for runtime in trial.runtimes():
            ours, theirs = (trial.run(path, runs, runtime).outputs for path in paths)
            limit = trial.SPARSE_TOLERANCES[quantization]
            _verification.agree(theirs, ours, limit, "its dense file", 1 / 128)
    except _verification.ExportError as error:
        verdict = "wrong" if "away" in str(error) else "does not load"
    return {"converter": len(contents[1]), "verdict": verdict}


def _input_names(path: pathlib.Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_path=str(path))
        return interpreter.get_signature_runner().get_input_details()
