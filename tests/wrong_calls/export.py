"""Wrong calls of the exporters: paths, quantizations, targets, data and files."""

import keras
import numpy as np

import kprune
from wrong_calls import wrong

E = kprune.export

WRITERS = {
    "to_tflite": lambda model, path: E.to_tflite(model, path),
    "to_saved_model": lambda model, path: E.to_saved_model(model, path),
    "save_compressed": lambda model, path: E.save_compressed(model, path),
}
NO_MODELS = {
    "none": (lambda w: None, TypeError, "None"),
    "path": (lambda w: "m.keras", TypeError, "load_model('m.keras')"),
    "class": (lambda w: keras.Sequential, TypeError, "the class Sequential"),
    "layer": (lambda w: w.layer, TypeError, "keras.Sequential("),
    "report": (lambda w: kprune.report(w.model), TypeError, "on a line of its own"),
    "list": (lambda w: [w.model], TypeError, "a list"),
}
MODELS = {
    f"{name}({kind})": wrong(lambda w, write=write, make=make: write(make(w), "new"), error, word)
    for name, write in WRITERS.items()
    for kind, (make, error, word) in NO_MODELS.items()
} | {
    f"check({kind})": wrong(lambda w, make=make: E.check(make(w)), error, word)
    for kind, (make, error, word) in NO_MODELS.items()
    if kind != "path"
}
UNBUILT = {
    name: wrong(lambda w, write=write: write(w.unbuilt, "new"), ValueError, "unbuilt is not built")
    for name, write in WRITERS.items()
} | {"check": wrong(lambda w: E.check(w.unbuilt), ValueError, "unbuilt is not built")}
NO_PATHS = {
    "none": (None, TypeError, "path=None"),
    "number": (5, TypeError, "path=5"),
    "empty": ("", ValueError, "path=''"),
    "null": ("a\0b", ValueError, "null character"),
    "list": (["a"], TypeError, "path=['a']"),
    "under a file": ("notes.txt/new", NotADirectoryError, "notes.txt"),
}
PATHS = {
    f"{name}({kind})": wrong(lambda w, write=write, path=path: write(w.model, path), error, word)
    for name, write in WRITERS.items()
    for kind, (path, error, word) in NO_PATHS.items()
} | {
    "to_tflite(directory)": wrong(
        lambda w: E.to_tflite(w.model, "folder"), IsADirectoryError, "folder is a directory"
    ),
    "save_compressed(directory)": wrong(
        lambda w: E.save_compressed(w.model, "folder"), IsADirectoryError, "folder is a directory"
    ),
    "to_saved_model(file)": wrong(
        lambda w: E.to_saved_model(w.model, "notes.txt"), FileExistsError, "notes.txt is a file"
    ),
    "to_saved_model(full directory)": wrong(
        lambda w: E.to_saved_model(w.model, "."), FileExistsError, "saved_model.pb"
    ),
    "swapped": wrong(lambda w: E.to_tflite("a.tflite", w.model), TypeError, "'a.tflite'"),
    "no path": wrong(lambda w: E.to_tflite(w.model), TypeError, "lacks path"),
}
TFLITE = {
    "quantization: fp16": wrong(
        lambda w: E.to_tflite(w.model, "a", "fp16"), ValueError, "'fp16'", "'a', \"float16\")"
    ),
    "quantization: int4": wrong(lambda w: E.to_tflite(w.model, "a", "int4"), ValueError, "'int4'"),
    "quantization: 8": wrong(lambda w: E.to_tflite(w.model, "a", 8), ValueError, "=8;", '"int8"'),
    "quantization: True": wrong(
        lambda w: E.to_tflite(w.model, "a", True), ValueError, "quantization=True"
    ),
    "quantization: list": wrong(
        lambda w: E.to_tflite(w.model, "a", ["int8"]), ValueError, "['int8']"
    ),
    "quantization: dynamic_range": wrong(
        lambda w: E.to_tflite(w.model, "a", "dynamic_range"), ValueError, '"dynamic")'
    ),
    "data: missing": wrong(
        lambda w: E.to_tflite(w.model, "a", "int8"), ValueError, "representative_data=x_train"
    ),
    "data: missing, int16x8": wrong(
        lambda w: E.to_tflite(w.model, "a", "int16x8"), ValueError, "representative_data=x_train"
    ),
    "data: number": wrong(
        lambda w: E.to_tflite(w.model, "a", "int8", 5), ValueError, "representative_data=5"
    ),
    "data: path": wrong(
        lambda w: E.to_tflite(w.model, "a", "int8", "x.npy"), ValueError, "'x.npy'"
    ),
    "data: empty": wrong(
        lambda w: E.to_tflite(w.model, "a", "int8", w.x[:0]), ValueError, "is empty"
    ),
    "data: shape": wrong(
        lambda w: E.to_tflite(w.model, "a", "int8", w.x[:, :5]), ValueError, "(32, 5)", "12"
    ),
    "data: rank": wrong(
        lambda w: E.to_tflite(w.model, "a", "int8", w.x[None, None]), ValueError, "(1, 1, 32, 12)"
    ),
    "data: text": wrong(
        lambda w: E.to_tflite(w.model, "a", "int8", np.full((4, 12), "a")), ValueError, "<U1"
    ),
    "data: nan": wrong(
        lambda w: E.to_tflite(w.model, "a", "int8", w.x * np.nan), ValueError, "NaN"
    ),
    "data: function": wrong(
        lambda w: E.to_tflite(w.model, "a", "int8", lambda: iter([w.x])), ValueError, "function"
    ),
    "representative_dataset=": wrong(
        lambda w: E.to_tflite(w.model, "a", "int8", representative_dataset=w.x),
        TypeError,
        "Write representative_data=",
    ),
    "dataset=": wrong(
        lambda w: E.to_tflite(w.model, "a", dataset=w.x), TypeError, "Write representative_data="
    ),
    "filepath=": wrong(lambda w: E.to_tflite(w.model, filepath="a"), TypeError, "Write path='a'"),
    "pattern=": wrong(
        lambda w: E.to_tflite(w.model, "a", pattern="2:4"), TypeError, "kprune.wrap(model, pattern="
    ),
    "target": wrong(
        lambda w: E.to_tflite(w.model, "a", target="gpu"), ValueError, "'gpu'", '"size"'
    ),
    "target: ARM": wrong(lambda w: E.to_tflite(w.model, "a", target="ARM"), ValueError, '"arm"'),
    "target: None": wrong(
        lambda w: E.to_tflite(w.model, "a", target=None), ValueError, "target=None"
    ),
    "threads": wrong(lambda w: E.to_tflite(w.model, "a", threads=0), ValueError, "threads=0"),
    "threads: text": wrong(lambda w: E.to_tflite(w.model, "a", threads="4"), ValueError, "'4'"),
    "threads: True": wrong(lambda w: E.to_tflite(w.model, "a", threads=True), ValueError, "=True"),
    "sparse": wrong(lambda w: E.to_tflite(w.model, "a", sparse="no"), TypeError, "sparse='no'"),
    "sparse: None": wrong(
        lambda w: E.to_tflite(w.model, "a", sparse=None), TypeError, "sparse=None"
    ),
    "batch_size": wrong(
        lambda w: E.to_tflite(w.model, "a", batch_size=0), ValueError, "batch_size=0"
    ),
    "batch_size: True": wrong(
        lambda w: E.to_tflite(w.model, "a", batch_size=True), ValueError, "batch_size=True"
    ),
    "batch_size: float": wrong(
        lambda w: E.to_tflite(w.model, "a", batch_size=1.0), ValueError, "batch_size=1.0"
    ),
    "signature: shape": wrong(
        lambda w: E.to_tflite(w.model, "a", input_signature=(None, 12)), TypeError, "(None, 12)"
    ),
    "signature: text": wrong(
        lambda w: E.to_tflite(w.model, "a", input_signature="float32"), TypeError, "'float32'"
    ),
    "signature: no dtype": wrong(
        lambda w: E.to_tflite(w.model, "a", input_signature=[keras.InputSpec(shape=(None, 12))]),
        TypeError,
        "keras.InputSpec(",
    ),
    "tolerance": wrong(
        lambda w: E.to_tflite(w.model, "a", tolerance=-1), ValueError, "tolerance=-1"
    ),
    "tolerance: text": wrong(
        lambda w: E.to_tflite(w.model, "a", tolerance="1e-4"), ValueError, "tolerance='1e-4'"
    ),
    "timing": wrong(
        lambda w: E.to_tflite(w.model, "a", timing_seconds=-1), ValueError, "timing_seconds=-1"
    ),
    "timing: None": wrong(
        lambda w: E.to_tflite(w.model, "a", timing_seconds=None), ValueError, "=None"
    ),
}
CHECK = {
    "no file": wrong(lambda w: E.check("nosuch.tflite"), FileNotFoundError, "nosuch.tflite"),
    "no keras file": wrong(lambda w: E.check("nosuch.keras"), FileNotFoundError, "nosuch.keras"),
    "directory": wrong(lambda w: E.check("folder"), IsADirectoryError, "folder"),
    "text": wrong(lambda w: E.check("notes.txt"), ValueError, "notes.txt", "to_tflite(model"),
    "empty": wrong(lambda w: E.check(""), ValueError, "path=''"),
    "target": wrong(lambda w: E.check(w.model, "cpu"), ValueError, "target='cpu'"),
    "quantization": wrong(
        lambda w: E.check(w.model, "arm", "fp16"), ValueError, "'fp16'", "float16"
    ),
    "sparsity": wrong(lambda w: E.check(w.model, sparsity=90), ValueError, "sparsity=90", "0.9"),
    "batch_size": wrong(lambda w: E.check(w.model, batch_size=-1), ValueError, "batch_size=-1"),
    "threads": wrong(lambda w: E.check(w.model, threads=1.5), ValueError, "threads=1.5"),
    "nothing": wrong(lambda w: E.check(), TypeError, "lacks model"),
}
SAVED_MODEL = {
    "batch_size": wrong(lambda w: E.to_saved_model(w.model, "a", batch_size=0), ValueError, "=0"),
    "batch_size: text": wrong(
        lambda w: E.to_saved_model(w.model, "a", batch_size="1"), ValueError, "batch_size='1'"
    ),
    "batch_size: by place": wrong(
        lambda w: E.to_saved_model(w.model, "a", 1), TypeError, "too many"
    ),
    "signature": wrong(
        lambda w: E.to_saved_model(w.model, "a", input_signature=[(None, 12)]), TypeError, "12"
    ),
    "quantization": wrong(
        lambda w: E.to_saved_model(w.model, "a", quantization="int8"), TypeError, "to_tflite("
    ),
}
COMPRESSED = {
    "no file": wrong(lambda w: E.load_compressed("no.kprune"), FileNotFoundError, "no.kprune"),
    "directory": wrong(lambda w: E.load_compressed("folder"), IsADirectoryError, "folder"),
    "text": wrong(lambda w: E.load_compressed("notes.txt"), ValueError, "notes.txt"),
    "model": wrong(lambda w: E.load_compressed(w.model), TypeError, "a Sequential"),
    "None": wrong(lambda w: E.load_compressed(None), TypeError, "path=None"),
    "objects": wrong(
        lambda w: E.load_compressed(w.file, ["Layer"]), TypeError, "custom_objects=['Layer']"
    ),
    "compile": wrong(lambda w: E.load_compressed(w.file, compile="no"), TypeError, "compile='no'"),
    "safe_mode": wrong(lambda w: E.load_compressed(w.file, safe_mode=0), TypeError, "safe_mode=0"),
    "limit": wrong(lambda w: E.load_compressed(w.file, limit_bytes=10), ValueError, "10 at most"),
    "limit: text": wrong(
        lambda w: E.load_compressed(w.file, limit_bytes="1 GB"), ValueError, "'1 GB'"
    ),
    "save: bits": wrong(
        lambda w: E.save_compressed(w.model, "a", bits=5), TypeError, "share_weights(model, bits=5)"
    ),
}
PADDING = {
    "path": wrong(lambda w: E.symmetric_padding("m.keras"), TypeError, "'m.keras'"),
    "layer": wrong(lambda w: E.symmetric_padding(w.layer), TypeError, "Dense"),
    "None": wrong(lambda w: E.symmetric_padding(None), TypeError, "None"),
    "unbuilt": wrong(lambda w: E.symmetric_padding(w.unbuilt), ValueError, "unbuilt is not built"),
    "wrapped": wrong(lambda w: E.symmetric_padding(w.wrapped), ValueError, "kprune.strip(model)"),
}
