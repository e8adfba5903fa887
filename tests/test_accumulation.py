"""Scores that gather over updates: against sums taken by hand, in every loop, across a restart."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import compiled, mlp
from test_training import LOOPS

import kprune
from kprune._masking import masked_weights, slot_variables

CONTRIBUTIONS = {"movement": lambda w, g: -w * g, "saliency": lambda w, g: abs(w * g)}


def by_hand(name, model, x, y, batch=8):
    """The sum over the updates of one epoch of plain gradient descent, for each kernel."""
    twin = compiled(mlp(), keras.optimizers.SGD(0.1))
    twin.set_weights(model.get_weights())
    kernels = [layer.kernel for layer in twin.layers if hasattr(layer, "kernel")]
    totals = [np.zeros(each.shape) for each in kernels]
    for at in range(0, len(x), batch):
        with tf.GradientTape() as tape:
            loss = twin.compute_loss(None, y[at : at + batch], twin(x[at : at + batch]))
        gradients = tape.gradient(loss, [each.value for each in twin.trainable_variables])
        for total, kernel in zip(totals, kernels, strict=True):
            place = [each is kernel for each in twin.trainable_variables].index(True)
            total += CONTRIBUTIONS[name](np.array(kernel), gradients[place].numpy())
        twin.optimizer.apply(gradients, twin.trainable_variables)
    return totals


def gathered(model, name):
    return list(slot_variables.values(model, name, masked_weights.require(model)).values())


@pytest.mark.parametrize("name", CONTRIBUTIONS)
@pytest.mark.parametrize("loop", LOOPS)
def test_the_sums_are_those_taken_by_hand(loop, name, data):
    model = kprune.wrap(compiled(mlp(), keras.optimizers.SGD(0.1), **LOOPS[loop]))
    expected = by_hand(name, model, *data)
    with kprune.training.accumulating(model, name):
        model.fit(*data, batch_size=8, shuffle=False, verbose=0)
    for found, want in zip(gathered(model, name), expected, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-5)


@pytest.mark.parametrize("name", CONTRIBUTIONS)
def test_the_callback_cuts_by_them(name, data):
    model = kprune.wrap(compiled(mlp(), keras.optimizers.SGD(0.1)))
    scores = np.concatenate([each.ravel() for each in by_hand(name, model, *data)])
    schedule = kprune.schedules.Constant(0.5, begin_step=8)
    pruning = kprune.callbacks.Pruning(schedule, name)
    model.fit(*data, batch_size=8, shuffle=False, verbose=0, callbacks=[pruning])
    kept = np.concatenate([each.alive().ravel() for each in masked_weights.require(model)])
    np.testing.assert_array_equal(kept, scores > np.sort(scores)[len(scores) // 2 - 1])


def test_scores_are_of_unscaled_gradients(data):
    """Loss scaling multiplies the gradients by 2^15 and takes them back."""
    model = compiled(mlp(), keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)))
    expected = by_hand("movement", kprune.wrap(model), *data)
    with kprune.training.accumulating(model, "movement"):
        model.fit(*data, batch_size=8, shuffle=False, verbose=0)
    for found, want in zip(gathered(model, "movement"), expected, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-4)


def test_a_loop_of_ones_own(data):
    model = kprune.wrap(mlp())
    optimizer, loss = keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy()
    expected = by_hand("movement", model, *data)

    @tf.function
    def update(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(value, variables), variables)

    x, y = data
    with kprune.training.accumulating(model, "movement", optimizer):
        for at in range(0, len(x), 8):
            update(x[at : at + 8], y[at : at + 8])
    for found, want in zip(gathered(model, "movement"), expected, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-5)
    assert "apply" not in vars(optimizer)
    assert kprune.step(model, kprune.schedules.Constant(0.5), 8, "movement")


def test_memory_is_what_outlives_a_cut(data):
    for memory in (1.0, 0.25, 0.0):
        model = kprune.wrap(compiled(mlp()))
        criterion = kprune.criteria.Movement(memory)
        with kprune.training.accumulating(model, criterion):
            model.fit(*data, verbose=0)
        before = [np.array(each) for each in gathered(model, "movement")]
        kprune.prune(model, 0.3, criterion)
        for found, each in zip(gathered(model, "movement"), before, strict=True):
            np.testing.assert_allclose(found, memory * each, rtol=1e-6)


def test_a_step_that_cuts_nothing_forgets_nothing(data):
    """A ramp from zero begins with a sparsity of zero: what was seen until then must count."""
    model = kprune.wrap(compiled(mlp(), keras.optimizers.SGD(0.1)))
    expected = by_hand("saliency", model, *data)
    with kprune.training.accumulating(model, "saliency"):
        model.fit(*data, batch_size=8, shuffle=False, verbose=0)
    kprune.prune(model, 0.0, "saliency")
    for found, want in zip(gathered(model, "saliency"), expected, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-5)


def test_scores_go_on_in_a_resumed_training(data, tmp_path):
    def fit(model, epochs):
        schedule = kprune.schedules.Constant(0.5, begin_step=1000)
        pruning = kprune.callbacks.Pruning(schedule, "movement")
        with pytest.warns(UserWarning, match="The schedule ends at step 1000"):
            model.fit(*data, 8, epochs, verbose=0, shuffle=False, callbacks=[pruning])

    whole, first = (kprune.wrap(compiled(mlp(), keras.optimizers.SGD(0.1))) for _ in range(2))
    first.set_weights(whole.get_weights())
    fit(whole, 2)
    fit(first, 1)
    first.save_weights(tmp_path / "stopped.weights.h5")
    second = kprune.wrap(compiled(mlp(), keras.optimizers.SGD(0.1)))
    slot_variables.of(second, "movement")
    second.load_weights(tmp_path / "stopped.weights.h5")
    fit(second, 1)
    for one, other in zip(gathered(whole, "movement"), gathered(second, "movement"), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_distilled_student_is_pruned_in_its_distiller(data):
    """`keras.distillation.Distiller` is a model like any other: callbacks find the masks in it."""
    teacher, student = compiled(mlp(hidden=32)), mlp()
    teacher.fit(*data, epochs=2, verbose=0)
    kprune.wrap(student)
    distiller = keras.distillation.Distiller(
        teacher, student, keras.distillation.LogitsDistillation(temperature=2.0)
    )
    distiller.compile("adam", "sparse_categorical_crossentropy")
    held = teacher.get_weights()
    schedule = kprune.schedules.PolynomialDecay(0.0, 0.75, begin_step=2, end_step=12, frequency=2)
    pruning = kprune.callbacks.Pruning(schedule, "movement")
    history = distiller.fit(*data, 16, 4, verbose=0, callbacks=[pruning]).history
    assert history["sparsity"][-1] == kprune.report(student).sparsity == 0.75
    for weight in masked_weights.require(student):
        np.testing.assert_array_equal(weight.values() != 0, weight.alive())
    for before, after in zip(held, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not kprune.masked_weights(kprune.strip(student))


def test_a_cut_before_the_first_update_is_refused(data):
    model = kprune.wrap(compiled(mlp()))
    before = model.get_weights()
    with pytest.raises(ValueError, match="Write a later begin_step in the schedule"):
        kprune.prune(model, 0.5, "movement")
    pruning = kprune.callbacks.Pruning(kprune.schedules.Constant(0.5), "movement")
    with pytest.raises(ValueError, match="Write a later begin_step in the schedule"):
        model.fit(*data, verbose=0, callbacks=[pruning])
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_fit_that_failed_is_not_counted_twice(data):
    class Fail(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise InterruptedError

    model = kprune.wrap(compiled(mlp(), keras.optimizers.SGD(0.1)))
    later = kprune.schedules.Constant(0.5, begin_step=1000)
    callbacks = [kprune.callbacks.Pruning(later, "movement"), Fail()]
    with pytest.warns(UserWarning, match="ends at step 1000"), pytest.raises(InterruptedError):
        model.fit(*data, batch_size=64, verbose=0, callbacks=callbacks)
    slot_variables.clear(model, "movement")
    expected = by_hand("movement", model, *data)
    with kprune.training.accumulating(model, "movement"):
        model.fit(*data, batch_size=8, shuffle=False, verbose=0)
    for found, want in zip(gathered(model, "movement"), expected, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-5)


def test_no_optimizer_says_what_to_write():
    model = kprune.wrap(mlp())
    model.optimizer = None
    accumulating = kprune.training.accumulating(model, "movement")
    with pytest.raises(ValueError, match=r"or name the optimizer"):
        accumulating.__enter__()


def test_a_memory_is_a_part():
    with pytest.raises(ValueError, match="memory=2; expected a number, at least 0 and at most 1"):
        kprune.criteria.Movement(2)
