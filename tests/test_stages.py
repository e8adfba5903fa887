"""Stages: what was stopped goes on as if it never had been, what was finished is read."""

import keras
import numpy as np
import pytest
from models import compiled, mlp

import kprune
from kprune._masking import masked_weights
from training.stages import Stages


class Stop(keras.callbacks.Callback):
    """Ends a training in the middle of an epoch."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            raise InterruptedError


def model():
    keras.utils.set_random_seed(1)
    return kprune.wrap(compiled(mlp()))


def fit(made, directory, resume, data, *more):
    schedule = kprune.schedules.PolynomialDecay(0.0, 0.8, begin_step=0.1, frequency=3)
    pruning = kprune.callbacks.Pruning(schedule, "movement")
    stages = Stages(directory, resume, verbose=0)
    stages.fit("pruned", made, data, 4, [pruning, *more], batch_size=16, shuffle=False)
    return made


def test_a_stopped_stage_goes_on_as_if_never_stopped(data, tmp_path):
    whole = fit(model(), tmp_path / "whole", False, data)
    with pytest.raises(InterruptedError):
        fit(model(), tmp_path / "stopped", False, data, Stop(10))
    assert [each.name for each in (tmp_path / "stopped").glob("*.h5")] == ["pruned.2.weights.h5"]
    resumed = fit(model(), tmp_path / "stopped", True, data)
    for one, other in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    logs = [(tmp_path / each / "pruned.csv").read_text() for each in ("whole", "stopped")]
    assert logs[0] == logs[1] and logs[0].count("\n") == 5
    assert [each.name for each in (tmp_path / "stopped").glob("*.h5")] == ["pruned.weights.h5"]

    read = fit(model(), tmp_path / "stopped", True, data, Stop(1))  # nothing is trained
    for one, other in zip(masked_weights.require(whole), masked_weights.require(read), strict=True):
        np.testing.assert_array_equal(one.values(), other.values())
        np.testing.assert_array_equal(one.alive(), other.alive())


def test_without_resume_a_stage_starts_anew(data, tmp_path):
    first = fit(model(), tmp_path, False, data)
    with pytest.raises(InterruptedError):
        fit(model(), tmp_path, False, data, Stop(6))
    second = fit(model(), tmp_path, False, data)
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, other)
