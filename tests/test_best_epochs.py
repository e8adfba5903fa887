"""Averages and best epochs: weights are on their masks in every evaluation and file."""

import itertools

import keras
import numpy as np
import pairwise
import pytest
from models import compiled, mlp

import kprune

PolynomialDecay = kprune.schedules.PolynomialDecay
EarlyStopping, Checkpoint = keras.callbacks.EarlyStopping, keras.callbacks.ModelCheckpoint
SCHEDULE = PolynomialDecay(0.0, 0.8, 0.0, 0.5, frequency=1)


def zeros(model):
    kernels = [each for each in model.weights if each.name == "kernel"]
    return [int((np.asarray(each) == 0).sum()) for each in kernels]


def pruned(model):
    return [weight.size - weight.kept() for weight in kprune.masked_weights(model)]


class Look(keras.callbacks.Callback):
    """Compares zeros and masks whenever an evaluation or an epoch begins or ends."""

    def look(self, *_, **__):
        assert zeros(self.model) == pruned(self.model)

    on_test_batch_begin = on_test_end = on_epoch_begin = on_epoch_end = look


def fit(model, data, *callbacks, epochs=4):
    return model.fit(
        *data,
        batch_size=16,
        epochs=epochs,
        verbose=0,
        validation_data=data,
        callbacks=list(callbacks),
    )


def averaging(**kwargs):
    return keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9, **kwargs)


ORDERS = list(itertools.permutations(range(3)))
OPTIMIZERS = ["plain", "overwrite", "scaled"]


@pytest.mark.parametrize("order", pairwise.quick_or_slow([(each,) for each in ORDERS[::2]], ORDERS))
def test_swapped_averages_are_pruned_in_every_order(order, data, tmp_path):
    model = kprune.wrap(compiled(mlp(), averaging()))
    callbacks = [
        kprune.callbacks.Pruning(SCHEDULE),
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        Checkpoint(tmp_path / "model.keras"),
    ]
    fit(model, data, *(callbacks[place] for place in order), Look())
    assert sum(zeros(model)) == sum(pruned(model)) == round(0.8 * 256)
    written = keras.models.load_model(tmp_path / "model.keras")
    assert sum(zeros(written)) == round(0.8 * 256)


@pytest.mark.parametrize(
    ("optimizer", "swap"),
    pairwise.quick_or_slow(
        pairwise.each_once(OPTIMIZERS, [False, True]), OPTIMIZERS, [False, True]
    ),
)
def test_a_plain_fit_with_averages_keeps_the_zeros(optimizer, swap, data):
    made = averaging(ema_overwrite_frequency=3) if optimizer == "overwrite" else averaging()
    if optimizer == "scaled":
        made = keras.optimizers.LossScaleOptimizer(made)
    model = compiled(mlp(), made)
    fit(model, data)  # the averages are of dense weights
    kprune.prune(model, 0.7)
    fit(model, data, *[keras.callbacks.SwapEMAWeights()] * swap, Look())
    assert sum(zeros(model)) == sum(pruned(model)) == round(0.7 * 256)


def test_averages_of_survivors_are_those_of_keras(data):
    """Where nothing is pruned, a wrapped model ends with the weights of a plain one."""
    ends = []
    for is_wrapped in (False, True):
        keras.utils.set_random_seed(5)
        model = compiled(mlp(), averaging())
        if is_wrapped:
            kprune.wrap(model)
        model.fit(*data, batch_size=16, epochs=2, shuffle=False, verbose=0)
        ends.append(model.get_weights())
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_outer_model_with_averages(data):
    inner = mlp()
    outer = keras.Sequential([keras.Input((12,)), inner])
    compiled(outer, averaging())
    fit(outer, data)
    kprune.prune(inner, 0.6)
    fit(outer, data)
    assert sum(zeros(inner)) == round(0.6 * 256)


class Planned(keras.callbacks.Callback):
    """Writes given values into the logs, so that the best epoch is known."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["val_score"] = self.values[epoch]


@pytest.mark.parametrize("is_first", [True, False])
def test_early_stopping_restores_on_the_masks_and_warns(is_first, data, tmp_path):
    model = kprune.wrap(mlp())
    pruning = kprune.callbacks.Pruning(SCHEDULE)
    stopping = EarlyStopping("val_score", mode="max", patience=9, restore_best_weights=True)
    pair = [stopping, pruning] if is_first else [pruning, stopping]
    with pytest.warns(UserWarning, match=r"epoch 1.*69.9%.*BestEpoch\(\"val_score\"\)"):
        fit(model, data, Planned([0.9, 0.1, 0.2, 0.3]), *pair)
    assert sum(zeros(model)) == sum(pruned(model)) == round(0.8 * 256)
    kprune.strip(model)
    assert sum(zeros(model)) == round(0.8 * 256)


def test_a_best_epoch_of_the_final_sparsity_needs_no_warning(data):
    model = kprune.wrap(mlp())
    stopping = EarlyStopping("val_score", mode="max", patience=9, restore_best_weights=True)
    values = Planned([0.1, 0.1, 0.9, 0.3])
    fit(model, data, values, kprune.callbacks.Pruning(SCHEDULE), stopping)
    assert stopping.best_epoch == 2 and sum(zeros(model)) == round(0.8 * 256)


def test_a_checkpoint_of_the_best_epoch_warns(data, tmp_path):
    model = kprune.wrap(mlp())
    best = Checkpoint(tmp_path / "best.keras", "val_score", mode="max", save_best_only=True)
    values = Planned([0.9, 0.1, 0.2, 0.3])
    with pytest.warns(UserWarning, match=r"ModelCheckpoint has written.*epoch 1.*BestEpoch"):
        fit(model, data, values, kprune.callbacks.Pruning(SCHEDULE), best)


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_best_epoch_at_the_final_sparsity(mode, is_first, data):
    """Epochs 1 and 2 are on the ramp, where they are better; of 3, 4 and 5 the fourth is best."""
    kept = {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept[epoch] = self.model.get_weights()

    values = [0.9, 0.8, 0.3, 0.5, 0.4]
    values = Planned(values if mode == "max" else [1 - each for each in values])
    best = kprune.callbacks.BestEpoch("val_score", mode=mode)
    pruning = kprune.callbacks.Pruning(SCHEDULE)
    model = kprune.wrap(mlp())
    pair = [best, pruning] if is_first else [pruning, best]
    fit(model, data, values, *pair, Keep(), epochs=5)
    assert best.epoch == 3 and best.value == pytest.approx(0.5)
    for one, other in zip(model.get_weights(), kept[3], strict=True):
        np.testing.assert_array_equal(one, other)
    assert zeros(model) == pruned(model) and sum(zeros(model)) == round(0.8 * 256)


def test_the_best_epoch_of_a_given_sparsity_comes_with_its_masks(data):
    model = kprune.wrap(mlp())
    best = kprune.callbacks.BestEpoch("val_score", sparsity=0.5, mode="max")
    ramp = PolynomialDecay(0.0, 0.8, 0.0, 1.0, power=1, frequency=1)
    fit(model, data, Planned([0.9, 0.2, 0.8, 0.1]), kprune.callbacks.Pruning(ramp), best)
    assert best.epoch == 2 and zeros(model) == pruned(model)
    assert sum(zeros(model)) == round(0.6 * 256)


def test_best_epoch_says_what_is_missing(data):
    with pytest.raises(ValueError, match='Write mode="max"'):
        kprune.callbacks.BestEpoch("val_fancy")
    with pytest.raises(ValueError, match='expected "auto"'):
        kprune.callbacks.BestEpoch(mode="best")
    model = kprune.wrap(mlp())
    with pytest.raises(ValueError, match="not in the logs, which have accuracy, loss"):
        fit(model, data, kprune.callbacks.BestEpoch("other_loss"))
    for best in (
        kprune.callbacks.BestEpoch("val_loss", sparsity=0.9),
        kprune.callbacks.BestEpoch("val_other_loss"),
    ):
        model = kprune.wrap(mlp())
        with pytest.warns(UserWarning, match=f"No epoch had {best.monitor}.*pruned to 0.8008"):
            fit(model, data, kprune.callbacks.Pruning(SCHEDULE), best)
        assert best.epoch is None and sum(zeros(model)) == round(0.8 * 256)
