"""What surrounds a cut: thresholds, regularizers, the retraining recipe, rewinding."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import compiled, mlp

import kprune
from kprune._masking import masked_weights


def kernels(model):
    return [np.array(each.values()) for each in masked_weights.require(model)]


def test_what_is_below_its_threshold_goes_and_nothing_else():
    model = kprune.wrap(compiled(mlp()))
    before = kernels(model)
    thresholds = kprune.thresholds.of(model, 0.7)
    kprune.prune(model, kprune.thresholds.targets(model, thresholds))
    for old, weight in zip(before, masked_weights.require(model), strict=True):
        np.testing.assert_array_equal(weight.alive(), abs(old) >= 0.7 * old.std())


def test_normal_weights_lose_what_the_normal_distribution_says():
    model = kprune.wrap(mlp(inputs=300, hidden=400))
    normal = np.random.default_rng(0).standard_normal((300, 400))
    masked_weights.require(model)[0].variable.assign(3 * normal)
    found = kprune.thresholds.targets(model, kprune.thresholds.of(model, 1.0))
    assert found["mlp/hidden"] == pytest.approx(0.6827, abs=0.003)  # P(|z| < 1)


@pytest.mark.parametrize("fixed", [True, False])
def test_the_callback_follows_the_thresholds(fixed, data):
    """Nothing is trained, so the masks can be told from the dense weights alone."""
    model = kprune.wrap(compiled(mlp(), keras.optimizers.SGD(0.0)))
    before = kernels(model)
    pruning = kprune.callbacks.ThresholdPruning(0.5, end_step=2, frequency=1, fixed=fixed)
    history = model.fit(*data, batch_size=16, epochs=1, verbose=0, callbacks=[pruning]).history
    for old, weight in zip(before, masked_weights.require(model), strict=True):
        kept = np.ones(old.shape, bool)
        for _ in range(1 if fixed else 3):
            kept &= abs(old) >= 0.5 * old[kept].std()
        np.testing.assert_array_equal(weight.alive(), kept)
    assert history["sparsity"] == [kprune.report(model).sparsity]


def test_given_thresholds_serve_every_step(data):
    model = kprune.wrap(compiled(mlp()))
    pruning = kprune.callbacks.ThresholdPruning({"mlp/hidden": 0.1}, frequency=2, end_step=1.0)
    model.fit(*data, batch_size=16, epochs=3, verbose=0, callbacks=[pruning])
    hidden, logits = masked_weights.require(model)
    assert hidden.kept() < hidden.size and logits.kept() == logits.size


def test_thresholds_that_cannot_be_are_refused():
    model = kprune.wrap(mlp())
    with pytest.raises(ValueError, match=r"quality=0; expected a number, more than 0"):
        kprune.thresholds.of(model, 0)
    with pytest.raises(ValueError, match="leaves nothing of 'mlp/hidden'"):
        kprune.thresholds.targets(model, {"mlp/hidden": 1e9})
    with pytest.raises(ValueError, match="'elsewhere', which is no class of this model"):
        kprune.thresholds.targets(model, {"elsewhere": 0.1})


@pytest.mark.parametrize(
    "regularizer, penalty",
    [
        (keras.regularizers.L1(0.03), lambda w: 0.03 * abs(w).sum()),
        (keras.regularizers.L2(0.02), lambda w: 0.02 * (w**2).sum()),
        ("l2", lambda w: 0.01 * (w**2).sum()),
    ],
)
def test_regularizers_count_the_survivors(regularizer, penalty):
    model = mlp()
    model.layers[0].kernel.regularizer = keras.regularizers.L1(0.5)
    kprune.wrap(model)
    kprune.prune(model, 0.5)
    own = float(sum(model.losses))
    with kprune.training.regularized(model, regularizer):
        added = float(sum(model.losses)) - own
    assert added == pytest.approx(sum(map(penalty, kernels(model))), rel=1e-4)
    assert float(sum(model.losses)) == pytest.approx(own)


def test_regularization_in_a_fit_is_a_step_along_its_gradient(data):
    """Gradient descent with L2(c) is, to the first step, plain descent minus 2 c eta w."""
    plain, decayed = (kprune.wrap(compiled(mlp(), keras.optimizers.SGD(0.1))) for _ in range(2))
    decayed.set_weights(plain.get_weights())
    before = kernels(plain)
    plain.fit(*data, batch_size=64, verbose=0)
    l2 = kprune.callbacks.Regularization(keras.regularizers.L2(0.2))
    decayed.fit(*data, batch_size=64, verbose=0, callbacks=[l2])
    for w, one, other in zip(before, kernels(plain), kernels(decayed), strict=True):
        np.testing.assert_allclose(other, one - 2 * 0.2 * 0.1 * w, atol=1e-6)
    held = kernels(decayed)
    decayed.optimizer.learning_rate = 0.0
    assert decayed.evaluate(*data, verbose=0)[0] < plain.evaluate(*data, verbose=0)[0] + 1
    assert not decayed.losses
    for one, other in zip(held, kernels(decayed), strict=True):
        np.testing.assert_array_equal(one, other)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 50), st.floats(1e-5, 10), st.floats(0.25, 5), st.integers(1, 500))
def test_the_rate_is_halved_at_a_fixed_interval(epochs, rate, halve_every, steps):
    recipe = kprune.training.Recipe(epochs, rate, halve_every)
    interval = max(1, round(halve_every * steps))
    schedule = recipe.schedule(steps)
    for step in (0, interval - 1, interval, 3 * interval + 1):
        assert float(schedule(step)) == pytest.approx(rate / 2 ** (step // interval), rel=1e-5)


def test_epochs_and_rate_are_lowered_together():
    recipe = kprune.training.Recipe(12, 1.0).lowered()
    assert (recipe.epochs, recipe.learning_rate, recipe.halve_every) == (4, 0.5, 2)
    assert kprune.training.Recipe(1, 1.0).lowered().epochs == 1
    with pytest.raises(ValueError, match="epochs=0; expected a whole number, at least 1"):
        kprune.training.Recipe(0, 1.0)


def test_rewinding_brings_back_the_step_it_noted(data):
    def fit(model, epochs, *callbacks):
        model.fit(*data, 16, epochs, shuffle=False, verbose=0, callbacks=callbacks)

    model = kprune.wrap(compiled(mlp()))
    twin = kprune.wrap(compiled(mlp()))
    twin.set_weights(model.get_weights())
    rewinding = kprune.callbacks.Rewinding(4)
    fit(model, 3, rewinding)
    fit(twin, 1)
    kprune.prune(model, 0.6)
    masks = [each.alive().copy() for each in masked_weights.require(model)]
    rewinding.rewind()
    assert int(model.optimizer.iterations) == 4
    for mask, early, weight in zip(
        masks, kernels(twin), masked_weights.require(model), strict=True
    ):
        np.testing.assert_array_equal(weight.alive(), mask)
        np.testing.assert_array_equal(weight.values(), np.where(mask, early, 0))
    for one, other in zip(model.optimizer.variables[2:], twin.optimizer.variables[2:], strict=True):
        np.testing.assert_array_equal(one, other)  # Adam's moments


def test_a_new_optimizer_is_left_as_it_is(data):
    model = kprune.wrap(compiled(mlp()))
    early = kprune.training.Snapshot(model)
    start = kernels(model)
    model.fit(*data, verbose=0)
    compiled(model)
    model.fit(*data, verbose=0)
    steps = int(model.optimizer.iterations)
    early.rewind()
    assert int(model.optimizer.iterations) == steps
    for one, other in zip(start, kernels(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_that_never_came_is_an_error(data):
    model = kprune.wrap(compiled(mlp()))
    rewinding = kprune.callbacks.Rewinding(1000)
    model.fit(*data, verbose=0, callbacks=[rewinding])
    with pytest.raises(ValueError, match="step=1000 was never reached"):
        rewinding.rewind()
