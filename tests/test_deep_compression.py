"""The program that runs all of Deep Compression: what it prints is what lies on the disk."""

import json
import pathlib

import numpy as np
import programs
import pytest

import kprune
from kprune.export import compressed

PROGRAM = pathlib.Path(kprune.__file__).parents[1] / "scripts" / "deep_compression.py"
EPOCHS = ["--epochs=3", "--prune_epochs=3", "--fine_tune_epochs=1", "--share_epochs=1"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A short run on digits: its directory, and what it printed."""
    directory = tmp_path_factory.mktemp("deep")
    arguments = [*EPOCHS, "--notflite", "--verbose=0", f"--output_dir={directory}"]
    return directory, programs.run(PROGRAM, *arguments), arguments


def test_the_table_is_of_the_files(done):
    directory, printed, _ = done
    results = json.loads((directory / "results.json").read_text())
    dense, pruned, shared, coded = results["stages"]
    assert dense["bytes"] == 4 * dense["kept"] == 4 * 50_610
    assert pruned["bytes"] == (directory / "pruned.kprune").stat().st_size
    assert coded["bytes"] == (directory / "shared.kprune").stat().st_size
    assert dense["bytes"] > pruned["bytes"] > shared["bytes"] > coded["bytes"]
    assert coded["ratio"] == pytest.approx(4 * 50_610 / coded["bytes"])
    assert f"{coded['bytes']:,}" in printed


def test_the_files_hold_few_weights_of_few_values(done):
    directory, _, _ = done
    model = compressed.load_compressed(directory / "shared.kprune")
    kernels = [each.numpy() for each in model.weights if each.path.endswith("kernel")]
    assert sum(map(np.count_nonzero, kernels)) == 7530  # 15 % of 50,200
    assert all(len(np.unique(each[each != 0])) <= 32 for each in kernels)


def test_a_run_that_is_resumed_ends_the_same(done):
    directory, _, arguments = done
    before = (directory / "shared.kprune").read_bytes()
    (directory / "sharing.weights.h5").unlink()
    (directory / "shared.kprune").unlink()
    programs.run(PROGRAM, *arguments, "--resume")
    after = (directory / "shared.kprune").read_bytes()
    assert abs(len(after) - len(before)) < 0.02 * len(before)


def test_what_is_missing_is_told(tmp_path):
    arguments = ["--dataset=mnist", f"--data_dir={tmp_path}"]
    assert "has no file of train images" in programs.run(PROGRAM, *arguments, good=False)
