"""What a type checker says of right and wrong calls."""

import pathlib
import subprocess
import sys

import kprune

CALLS = '''
from typing import assert_type

import keras
import numpy as np

import kprune


class Model(keras.Model):
    """A model of a user."""


model = Model()
x = np.zeros((4, 3))
decay = kprune.schedules.PolynomialDecay(0.0, 0.9)

assert_type(kprune.wrap(model, include=["dense"], pattern="2:4"), Model)
assert_type(kprune.strip(model), Model)
assert_type(kprune.recalibrate_batch_norm(model, x), Model)
with kprune.stripped(model) as plain:
    assert_type(plain, Model)
assert_type(kprune.wrap(model), kprune.Report)  # wrong

kprune.prune(model, 0.5, "magnitude", "erk", "least_squares")
kprune.prune(model, {"dense": 0.5}, kprune.criteria.OBD((x, x), estimator="exact"))
kprune.prune(model, 0.5, allocation=kprune.allocations.Fixed({"dense": 0.5}))
kprune.prune(model, "0.5")  # wrong
kprune.prune(model, 0.5, "magnitud")  # wrong
kprune.prune(model, 0.5, allocation=3)  # wrong
kprune.prune(model, 0.5, allocation="layers")  # wrong
kprune.prune(model, 0.5, refit="least_square")  # wrong
kprune.wrap(model, pattern=kprune.patterns.Block((4, 1)))
kprune.wrap(model, pattern="chanel")  # wrong

kprune.callbacks.Pruning("polynomial_decay", "movement")
kprune.callbacks.Pruning(lambda step: 0.5)
kprune.callbacks.Pruning(decay, kprune.criteria.Wanda([x, x]), refit=kprune.refits.LeastSquares(x))
kprune.callbacks.Pruning(0.9)  # wrong
kprune.callbacks.Pruning("polynomial")  # wrong
kprune.callbacks.Pruning(decay, criterion="magnitud")  # wrong
kprune.step(model, decay, 10, "random")
kprune.step(model, decay, "10")  # wrong

kprune.criteria.OBD(3)  # wrong
kprune.criteria.OBD((x, x), estimator="exactly")  # wrong
kprune.criteria.OBS(x, hessian="diagonal")  # wrong
kprune.criteria.SparseGPT(x, damping="automatic")  # wrong
kprune.refits.LeastSquares(3)  # wrong
kprune.schedules.PolynomialDecay("0", 0.9)  # wrong

kprune.training.share_weights(model, bits={"dense": 4}, initialization="density")
kprune.training.share_weights(model, initialization="uniform")  # wrong
with kprune.training.accumulating(model, "movement"):
    pass
with kprune.training.accumulating(model, "movment"):  # wrong
    pass
kprune.recalibrate_batch_norm(model, 3)  # wrong
kprune.thresholds.of(model, "1")  # wrong
'''


def test_a_type_checker_sees_wrong_calls_and_no_others(tmp_path):
    calls = tmp_path / "calls.py"
    calls.write_text(CALLS)
    command = [sys.executable, "-m", "mypy", "--config-file=", "--ignore-missing-imports"]
    command += ["--follow-imports=silent", "--no-error-summary", "--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [*command, str(calls)],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(kprune.__file__).parents[1],
    )
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    marked = {i for i, line in enumerate(CALLS.splitlines(), 1) if line.endswith("# wrong")}
    assert {int(line.split(":")[1]) for line in errors} == marked, done.stdout + done.stderr
