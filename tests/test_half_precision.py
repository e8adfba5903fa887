"""Second order of the loss where the model computes in half precision, beside float32."""

import keras
import numpy as np
import pairwise
import pytest

import kprune
from kprune.criteria import OBD, OBS

layers = keras.layers

CRITERIA = {
    "gauss_newton": lambda data: OBD(data),
    "empirical_fisher": lambda data: OBD(data, "empirical_fisher"),
    "backward": lambda data: OBD(data, "backward"),
    "full": lambda data: OBS(data, "full", damping=0.1),
    "block": lambda data: OBS(data, "block", damping=0.1, block_size=16),
    "full fisher": lambda data: OBS(data, "full", fisher="empirical_fisher", damping=0.1),
    "many outputs": lambda data: OBD(data),
}


POLICIES = ["mixed_float16", "mixed_bfloat16", "float16"]


def prune(policy, name):
    keras.config.set_dtype_policy(policy)
    generator = np.random.default_rng(0)
    outputs = 20 if name == "many outputs" else 4  # sums of factors with random signs beyond 16
    x, y = generator.normal(size=(64, 8)).astype("float32"), generator.integers(0, outputs, 64)
    model = keras.Sequential([keras.Input((8,)), layers.Dense(12, "tanh"), layers.Dense(outputs)])
    model.set_weights([generator.normal(size=w.shape) / 3 for w in model.weights])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    report = kprune.prune(model, 0.5, CRITERIA[name]((x, y)))
    assert report.sparsity == 0.5
    return np.concatenate([weight.alive().reshape(-1) for weight in kprune.masked_weights(model)])


@pytest.mark.parametrize(
    ("policy", "name"),
    pairwise.quick_or_slow(pairwise.each_once(POLICIES, list(CRITERIA)), POLICIES, CRITERIA),
)
def test_masks_are_nearly_those_of_float32(policy, name):
    expected = prune("float32", name)
    agreement = np.mean(prune(policy, name) == expected)
    assert agreement > (0.9 if "bfloat16" in policy else 0.95)
