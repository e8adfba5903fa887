"""What a config made to harm names, as attacks on Keras's loader have done."""

import keras

LIMIT = 1 << 24  # bytes


def dense():
    """A model of one layer."""
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, name="dense")])


def function(module, name, registered=None):
    """The config of a function."""
    names = {"module": module, "class_name": "function", "config": name}
    return {**names, "registered_name": registered or name}


def layer(module, name, /, **config):
    """The config of an object, given that of its constructor."""
    names = {"module": module, "class_name": name, "config": config}
    return {**names, "registered_name": name}


def calls(what):
    """The config of a layer that calls a function."""
    return layer("keras.layers", "Lambda", function=what, arguments={"fname": "x", "origin": "y"})


CODE = {
    "os.system": function("os", "system"),
    "posix.system": function("posix", "system"),
    "builtins.eval, as a class": layer("builtins", "eval"),
    "subprocess.Popen": layer("subprocess", "Popen", args=["true"]),
    "a download": calls(function("keras.utils", "get_file")),
    "a download by its source": calls(function("keras.src.utils.file_utils", "get_file")),
    "safe mode off": calls(function("keras.config", "enable_unsafe_deserialization")),
    "another file": calls(function("keras.models", "load_model")),
    "a factory": calls(function("keras.layers", "deserialize")),
    "a factory by its name": calls(function("builtins", "deserialize")),
    "a dotted name": layer("keras", "utils.get_file"),
    "a function of keras": function("keras", "device"),
    "bytecode": calls({"class_name": "__lambda__", "config": {"code": "4wEA"}}),
    "a pickled module": layer("keras.layers", "TorchModuleWrapper", module="gASV"),
    "a SavedModel elsewhere": layer("keras.layers", "TFSMLayer", filepath="/tmp/x"),
    "a vocabulary elsewhere": layer("keras.layers", "StringLookup", vocabulary="/etc/passwd"),
    "a specification": {**layer("keras.utils", "__typespec__"), "spec_name": "get_file"},
    "a huge array": {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "S99999999"}},
    "a name that is none": {"class_name": 3, "module": ["keras"], "config": {}},
    "another module": layer("antigravity", "Fly"),
}
