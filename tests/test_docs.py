"""What the documentation says, run."""

import doctest
import importlib
import pathlib
import pkgutil
import re
import shutil

import keras
import numpy as np
import pytest
from models import compiled

import kprune

pytestmark = pytest.mark.docs

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
MODULES = sorted(each.name for each in pkgutil.walk_packages(kprune.__path__, "kprune."))


class Silent(doctest.OutputChecker):
    """Compares what an example prints only where the docstring shows it."""

    def check_output(self, want, got, optionflags):
        return not want or super().check_output(want, got, optionflags)


def lenet():
    """A small network with the names that the documentation uses."""
    dense = keras.layers.Dense
    model = keras.Sequential(
        [
            keras.Input((12,)),
            dense(16, "relu", name="dense"),
            keras.layers.Dropout(0.5, name="dropout"),
            dense(4, "softmax", name="dense_1"),
        ],
        name="lenet",
    )
    return compiled(model)


def names():
    """What an example may take for granted."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((320, 12)).astype("float32")
    y = generator.integers(0, 4, 320)
    model = lenet()
    schedule = kprune.schedules.PolynomialDecay(0.0, 0.5, 0, 8, frequency=1)
    given = {"keras": keras, "kprune": kprune, "np": np, "x": x, "y": y, "schedule": schedule}
    return given | {"model": model, "optimizer": model.optimizer, "images": x}


@pytest.fixture(scope="module")
def lenet_file(tmp_path_factory):
    """A file that examples read."""
    path = tmp_path_factory.mktemp("files") / "lenet.tflite"
    kprune.export.to_tflite(lenet(), path)
    return path


@pytest.mark.filterwarnings("ignore:Training ended:UserWarning")
@pytest.mark.filterwarnings("ignore:The optimizer has already:UserWarning")
@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name, lenet_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(lenet_file, "lenet.tflite")
    module = importlib.import_module(name)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, globs=vars(module)):
        if test.examples:
            test.globs = dict(vars(module)) | names() | {"batches": [], "train_step": None}
            if test.globs["model"] is not None and "wrap" not in test.examples[0].source:
                kprune.wrap(test.globs["model"])
            runner = doctest.DocTestRunner(Silent(), optionflags=doctest.ELLIPSIS)
            failures = []
            runner.run(test, out=failures.append)
            assert not runner.failures, "".join(failures)


BLOCKS = {page.name: BLOCK.findall(page.read_text()) for page in PAGES}


@pytest.mark.parametrize("page", [page for page, blocks in BLOCKS.items() if blocks])
def test_code_blocks(page, tmp_path, monkeypatch):
    """The blocks of a page, one after another, as a reader would run them."""
    monkeypatch.chdir(tmp_path)
    given = {"__name__": "page", "model": lenet()}  # the README begins with a model of yours
    exec(compile("\n".join(BLOCKS[page]), page, "exec"), given)
    assert given["kprune"] is kprune  # the page imports what it uses


def test_the_readme_has_code_blocks():
    """Else the pattern finds none, and nothing was run."""
    assert len(BLOCKS["README.md"]) == README.read_text().count("```python") > 0


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith(("http", "mailto")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_names_in_the_readme_exist():
    for name in set(re.findall(r"kprune(?:\.[a-zA-Z_]\w*)+", README.read_text())):
        thing = kprune
        for part in name.split(".")[1:]:
            assert hasattr(thing, part), name
            thing = getattr(thing, part)
