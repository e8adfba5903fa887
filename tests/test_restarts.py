"""A training that is stopped and resumed has the masks of one that never was; odd fits say so."""

import keras
import numpy as np
import pytest
from models import compiled, mlp

import kprune

PolynomialDecay = kprune.schedules.PolynomialDecay
Pruning = kprune.callbacks.Pruning

FRACTIONS = PolynomialDecay(0.1, 0.8, begin_step=0.1, end_step=0.9, frequency=2)


def make(dropout=0.0):
    """A model whose optimizer has no state but its step, so that a new one loses nothing else."""
    keras.utils.set_random_seed(3)
    return kprune.wrap(compiled(mlp(dropout=dropout), keras.optimizers.SGD(0.1)))


def fit(model, data, *callbacks, epochs=4, **kwargs):
    return model.fit(
        *data,
        batch_size=16,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **kwargs,
    )


class Save(keras.callbacks.Callback):
    """Writes the weights after an epoch."""

    def __init__(self, path, epoch):
        super().__init__()
        self.path, self.epoch = path, epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epoch:
            self.model.save_weights(self.path)


@pytest.mark.parametrize(
    "criterion, whole_numbers, before, is_built",
    [
        ("magnitude", False, 0, False),
        ("magnitude", True, 3, False),
        ("magnitude", False, 3, True),
        ("movement", False, 3, False),
        ("movement", True, 0, True),
    ],
)
@pytest.mark.filterwarnings("ignore:Skipping variable loading")  # Keras's word of a new optimizer
def test_wrap_and_load_go_on_as_if_never_stopped(
    criterion, whole_numbers, before, is_built, data, tmp_path
):
    """The recipe, with an optimizer that counts from zero and one that is built and restored."""
    schedule = FRACTIONS.resolve(16, 4 * before) if whole_numbers else FRACTIONS
    path = tmp_path / "stopped.weights.h5"
    whole = make()
    fit(whole, data, epochs=before)  # the optimizer has counted before the pruning begins
    history = fit(whole, data, Pruning(schedule, criterion), Save(path, 2)).history
    resumed = make()
    if is_built:
        resumed.optimizer.build(resumed.trainable_variables)
    resumed.load_weights(path)
    rest = fit(resumed, data, Pruning(schedule, criterion), initial_epoch=2).history
    assert rest["sparsity"] == history["sparsity"][2:]
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:Skipping variable loading")
def test_a_second_restart(data, tmp_path):
    first, second = tmp_path / "first.weights.h5", tmp_path / "second.weights.h5"
    whole = make()
    history = fit(whole, data, Pruning(FRACTIONS), Save(first, 1)).history
    once = make()
    once.load_weights(first)
    fit(once, data, Pruning(FRACTIONS), Save(second, 2), initial_epoch=1)
    twice = make()
    twice.load_weights(second)
    rest = fit(twice, data, Pruning(FRACTIONS), initial_epoch=2).history
    assert rest["sparsity"] == history["sparsity"][2:]
    for one, other in zip(whole.get_weights(), twice.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_initial_epoch_without_a_file(data):
    """Fractions are of the whole training: half of it is over, and the ramp half done."""
    model = make()
    schedule = PolynomialDecay(0.0, 0.8, 0.0, 1.0, power=1, frequency=1)
    history = fit(model, data, Pruning(schedule), initial_epoch=2).history
    assert history["sparsity"] == pytest.approx([0.6, 0.8], abs=0.01)


@pytest.mark.parametrize("is_last", [True, False])
def test_dropout_rates_from_the_first_resumed_step(is_last, data, tmp_path):
    rates = {}

    class Note(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            rates[int(self.model.optimizer.iterations)] = self.model.get_layer("dropout").rate

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == self.stop:
                raise InterruptedError

    def train(stop=None):
        rates.clear()
        model, note = make(dropout=0.5), Note()
        note.stop = stop
        backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=stop is None)
        adjust = kprune.callbacks.DropoutRatioAdjustment()
        before, after = ((), (backup,)) if is_last else ((backup,), ())
        fit(model, data, *before, Pruning(FRACTIONS), adjust, *after, note)
        return dict(rates)

    whole = train()
    with pytest.raises(InterruptedError):
        train(stop=2)
    resumed = train()
    assert sorted(resumed) == list(range(8, 16))
    # Keras's files do not hold the state of a dropout layer, so later masks differ a little.
    assert resumed[8] == whole[8] < 0.3 and resumed[9] == whole[9]


def test_the_defaults_are_fractions_of_this_fit(data):
    """A model that was trained before is pruned gradually, along the formula over this fit."""
    model = mlp()
    fit(model, data, epochs=5)
    kprune.wrap(model)
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs["sparsity"])

    fit(model, data, Pruning(PolynomialDecay(0.0, 0.9)), Watch())
    expected = [0.9 - 0.9 * max(0.0, 1 - step / 12) ** 3 for step in range(1, 17)]
    assert seen == pytest.approx(expected, abs=1 / 256)


def test_iterative_fits_into_a_short_fit(data):
    model = kprune.wrap(mlp())
    fit(model, data, Pruning(kprune.schedules.Iterative(0.3, 0.9)))
    assert kprune.report(model).sparsity == pytest.approx(0.9, abs=1 / 256)


@pytest.mark.parametrize(
    "schedule, line",
    [
        (kprune.schedules.Iterative(0.3, 0.9, frequency=1001, begin_step=0), "frequency=1"),
        (kprune.schedules.Iterative(0.3, 0.9, 40, frequency=9, begin_step=0), "steps=16, freq"),
        (kprune.schedules.Constant(0.5, begin_step=20), "begin_step=16"),
        (PolynomialDecay(0.0, 0.9, 0, 100), "end_step=16"),
        (kprune.schedules.Function(lambda step: step / 100, 0, 50), "end_step=16"),
    ],
)
def test_a_schedule_longer_than_the_fit_is_told_when_it_begins(schedule, line, data):
    told = []

    class First(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            told.append(len(caught))

    with pytest.warns(UserWarning, match=f"this fit at step 16.*Write {line}") as caught:
        fit(kprune.wrap(mlp()), data, Pruning(schedule), First())
    assert told[0] == len(caught) == 1


def test_a_fit_has_one_pruning(data):
    with pytest.raises(ValueError, match="two Pruning callbacks"):
        fit(make(), data, Pruning(FRACTIONS), Pruning(kprune.schedules.Constant(0.5)))


@pytest.mark.parametrize(
    "schedule",
    [PolynomialDecay(0.8, 0.2), lambda step: max(0.1, 0.5 - step / 20), "iterative"],
)
def test_a_falling_sparsity_is_refused(schedule, data):
    model = make()
    if schedule == "iterative":
        schedule = kprune.schedules.Iterative(0.9, 0.3)
    with pytest.raises(ValueError, match="what is pruned stays pruned"):
        fit(model, data, Pruning(schedule))
    assert kprune.report(model).sparsity == 0


@pytest.mark.parametrize("final", [0.9, 0.5, 0.7])
def test_targets_of_classes_along_a_schedule_are_reached_exactly(final, data):
    model = kprune.wrap(mlp())
    targets = {"mlp/hidden": 0.9, "mlp/logits": 0.3}
    fit(model, data, Pruning(PolynomialDecay(0.0, final), allocation=targets))
    kept = [each.kept for each in kprune.report(model).pruned]
    assert kept == [192 - round(0.9 * 192), 64 - round(0.3 * 64)]


class Adversaries(keras.Model):
    """Two networks with an optimizer each, as in the example of a GAN on keras.io."""

    def __init__(self):
        super().__init__()
        self.critic = keras.Sequential([keras.Input((12,)), keras.layers.Dense(1)])
        self.built = True

    def compile(self, **optimizers):
        super().compile()
        for name, optimizer in optimizers.items():
            setattr(self, name, optimizer)

    def call(self, x):
        return self.critic(x)

    def train_step(self, data):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = keras.ops.mean(self.critic(data[0]) ** 2)
        variables = self.critic.trainable_weights
        getattr(self, "own", OUTSIDE).apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}


OUTSIDE = keras.optimizers.SGD(0.1)


def test_several_optimizers_are_counted_in_batches(data):
    model = Adversaries()
    model.compile(own=keras.optimizers.Adam(), other=keras.optimizers.Adam())
    kprune.wrap(model)
    history = fit(model, data, Pruning(PolynomialDecay(0.0, 0.5, 0.0, 0.5))).history
    assert history["sparsity"] == pytest.approx([0.4375, 0.5, 0.5, 0.5], abs=1 / 12)
    assert kprune.report(model).kept == 6


def test_an_optimizer_that_is_never_seen_is_an_error(data):
    global OUTSIDE
    OUTSIDE = keras.optimizers.SGD(0.1)
    model = Adversaries()
    model.compile()
    kprune.wrap(model)
    with pytest.raises(ValueError, match="has made no update"):
        fit(model, data, Pruning(PolynomialDecay(0.0, 0.5)))
