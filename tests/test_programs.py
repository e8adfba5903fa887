"""What every program tells of its flags."""

import re
from importlib.util import find_spec
from pathlib import Path

import programs
import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ROOT / "scripts", ROOT / "benchmarks"
PROGRAMS = sorted(
    each
    for folder in FOLDERS
    for each in folder.rglob("*.py")
    if "app.run(main)" in (text := each.read_text())
    and (find_spec("torch") or "import torch" not in text)  # a peer that need not be installed
)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_help_shows_the_flags_of_a_program(program):
    page = programs.run(program, "--help", good=False)
    assert "Traceback" not in page and page.startswith(re.match(r'"""(.*)', program.read_text())[1])
    assert re.search(r"^  --", page, re.MULTILINE)


@pytest.mark.parametrize(
    "program",
    [each for each in PROGRAMS if "checks.flags_alone" in each.read_text()],
    ids=lambda program: program.stem,
)
def test_what_is_no_flag_is_refused(program):
    page = programs.run(program, "surplus", good=False)
    assert "Traceback" not in page and "Write --help" in page
