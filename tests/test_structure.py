"""The house: a file imports from lower floors, modules and not names, and imports are light."""

import ast
import pathlib
import subprocess
import sys

import pytest

import kprune

ROOT = pathlib.Path(kprune.__file__).parent
FLOORS = [
    {"codebooks", "coding", "files", "gradients", "memory", "observing", "progress"}
    | {"registration", "retraining", "scores", "tables", "tflite", "threads"},
    {"calibration", "masks", "patterns", "schedules"},
    {"normalization", "reconstruction", "weights"},
    {"allocations", "curvature", "quantization", "wrappers"},
    {"models", "quadratics", "regularizers", "rewinding", "sharing", "slots", "thresholds"},
    {"criteria", "proximal", "refits"},
    {"accumulation", "cutting", "reporting", "wrapping"},
    {"pruning"},
    {"callbacks", "export"},
]
FILES = sorted(ROOT.rglob("*.py"))


def imports(path):
    """The kprune modules that a file imports, and the names it takes from inside them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kprune":
            for alias in node.names:
                yield node.module.split(".")[1:], alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("kprune."):
                    yield alias.name.split(".")[1:], None


def room(path):
    """The module or package directly under kprune that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    here = room(path)
    if here == "__init__":
        return
    level = next(i for i, floor in enumerate(FLOORS) if here in floor)
    for module, name in imports(path):
        target = module[0] if module else name
        if target == here:
            continue  # within a package
        assert target in set().union(*FLOORS[:level]), f"{path.name} imports {target}"
        if path.name != "__init__.py":
            assert not module or (ROOT / module[0]).is_dir(), f"{path.name} imports a name, {name}"


def test_every_file_has_a_floor():
    assert {room(path) for path in FILES} - {"__init__"} == set().union(*FLOORS)


def test_importing_kprune_is_light():
    """No module of the large optional packages, no environment variable, nothing printed."""
    program = (
        "import os, sys\n"
        "before = dict(os.environ)\n"
        "import keras\n"
        "middle = dict(os.environ)\n"
        "import kprune\n"
        "heavy = {'keras_hub', 'keras_nlp', 'tensorflow_model_optimization', 'tf_keras'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert middle == dict(os.environ)\n"
        "assert 'TF_USE_LEGACY_KERAS' not in os.environ or 'TF_USE_LEGACY_KERAS' in before\n"
        "print('light')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "light\n", done.stderr


def test_every_public_name_is_documented():
    for name in kprune.__all__:
        thing = getattr(kprune, name)
        assert thing.__doc__, name
        if callable(thing):
            assert "Example:" in thing.__doc__ and ">>>" in thing.__doc__, name
