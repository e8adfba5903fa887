"""The house: rooms import from lower floors, Keras's private names stay in one of them."""

import ast
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import kprune

pytestmark = pytest.mark.quick

ROOT = pathlib.Path(kprune.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
DESIGN = ROOT.parent / "docs" / "design.md"


def floors():
    """The floor of each room, from the table of docs/design.md."""
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", DESIGN.read_text(), flags=re.MULTILINE)
    return {
        name: int(floor)
        for floor, rooms in rows
        for name in re.findall(r"`(\w+)(?:\.py|/)`", rooms)
    }


def imports(path):
    """The kprune modules that a file imports, as `(module, name)`."""
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


def test_imports_go_down():
    level = floors()
    assert {room(path) for path in FILES} - {"__init__"} == set(level)
    for path in FILES:
        here = room(path)
        for module, name in imports(path) if here != "__init__" else ():
            target = module[0] if module else name
            if target != here:
                assert level[target] < level[here], f"{path.relative_to(ROOT)} imports {target}"


def test_the_top_floor_is_small():
    assert len({room(path) for path in FILES}) <= 20


def test_files_import_without_a_circle():
    """Within rooms too: no module imports one that imports it, at any distance."""
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in FILES}
    edges = {}
    for name, path in names.items():
        found = set()
        for module, imported in imports(path):
            whole = ".".join([*module, imported or ""]).strip(".")
            is_module = whole in names or f"{whole}.__init__" in names
            found.add(whole if is_module else ".".join(module))
        found = {f"{each}.__init__" if f"{each}.__init__" in names else each for each in found}
        edges[name] = found & set(names)
    done, open_ = set(), []

    def visit(name):
        assert name not in open_, f"a circle of imports: {' -> '.join([*open_, name])}"
        if name not in done:
            open_.append(name)
            for target in edges[name]:
                visit(target)
            done.add(open_.pop())

    for name in names:
        visit(name)


def private_names(tree):
    """Attributes that begin with one underscore, taken of anything but `self`, `cls`, `super()`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            owner = node.value
            own = isinstance(owner, ast.Name) and owner.id in ("self", "cls", "kprune", "os")
            if not own and not (isinstance(owner, ast.Call) and ast.unparse(owner) == "super()"):
                yield node.attr, ast.unparse(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("attr"):
            name = node.args[min(1, len(node.args) - 1)]
            if isinstance(name, ast.Constant) and re.match(r"_[a-z]", str(name.value)):
                yield name.value, ast.unparse(node)


def defined_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_private_names_of_keras_stay_in_their_room():
    trees = {path: ast.parse(path.read_text()) for path in FILES if room(path) != "_keras"}
    own = {name for tree in trees.values() for name in defined_names(tree)}
    for path, tree in trees.items():
        here = path.relative_to(ROOT)
        for name, code in private_names(tree):
            assert name in own or (ROOT / name).exists(), f"{here}: {code}"
        for node in ast.walk(tree):
            code = ast.unparse(node) if isinstance(node, ast.Call) else ""
            past = re.match(r"(object|type)\.__(set|del)attr__\(", code)
            assert not past or code.startswith("object.__setattr__(self,"), f"{here}: {code}"
            text = node.value if isinstance(node, ast.Constant) else getattr(node, "module", "")
            assert "keras.src" not in str(text or ""), f"{here} names keras.src"


def test_importing_kprune_is_light():
    """No exporter, no large optional package, no environment variable, nothing printed."""
    program = (
        "import os, sys\n"
        "before = dict(os.environ)\n"
        "import keras\n"
        "middle = dict(os.environ)\n"
        "import kprune\n"
        "heavy = {'keras_hub', 'keras_nlp', 'tensorflow_model_optimization', 'tf_keras'}\n"
        "heavy |= {'kprune.budgets', 'kprune.export', 'kprune.migrate', 'ai_edge_litert'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert middle == dict(os.environ)\n"
        "assert 'TF_USE_LEGACY_KERAS' not in os.environ or 'TF_USE_LEGACY_KERAS' in before\n"
        "assert kprune.export.to_tflite and set(dir(kprune)) == {*kprune.__all__, '__version__'}\n"
        "print('light')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "light\n", done.stderr


PACKAGES = [
    "allocations",
    "budgets",
    "calibration",
    "callbacks",
    "criteria",
    "export",
    "patterns",
    "refits",
]
PACKAGES += ["migrate", "schedules", "thresholds", "training"]


@pytest.mark.parametrize("name", ["", *PACKAGES])
def test_the_public_line(name):
    """What a module names is there and documented; a file of a package adds nothing to it."""
    module = getattr(kprune, name) if name else kprune
    assert set(PACKAGES) <= set(kprune.__all__)
    for public in module.__all__:
        thing = getattr(module, public)
        assert not public.startswith("_")
        if inspect.isclass(thing) or inspect.isfunction(thing) or inspect.ismodule(thing):
            assert thing.__doc__, f"{module.__name__}.{public}"
    if name and hasattr(module, "__path__"):
        for path in pathlib.Path(module.__path__[0]).glob("[!_]*.py"):
            tree = ast.parse(path.read_text())
            stated = [
                n
                for n in ast.walk(tree)
                if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"
            ]
            assert stated, f"{name}/{path.name} has no __all__; a private file begins with _"
            if path.stem not in module.__all__:  # a public module, such as training.codebooks
                assert set(ast.literal_eval(stated[0].value)) <= set(module.__all__), path.name


def test_every_public_function_shows_an_example():
    for name in kprune.__all__:
        thing = getattr(kprune, name)
        if callable(thing) and name != "Report":
            assert "Example:" in thing.__doc__ and ">>>" in thing.__doc__, name
