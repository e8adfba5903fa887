"""What trains a wrapped model keeps it on its masks, whatever the optimizer and the loop."""

import keras
import numpy as np
import pairwise
import pytest
import tensorflow as tf
from models import compiled, mlp

import kprune
from kprune._masking import masked_weights

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "momentum with decay": lambda: keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "adam with clipping": lambda: keras.optimizers.Adam(0.01, global_clipnorm=0.1),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.5),
    "adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "lion": lambda: keras.optimizers.Lion(0.01),
    "ftrl": lambda: keras.optimizers.Ftrl(0.1),
    "muon": lambda: keras.optimizers.Muon(0.01),
    "loss scaling": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
    "accumulation": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
    "ema": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=3),
}
LOOPS = {
    "graph": {},
    "eager": {"run_eagerly": True},
    "xla": {"jit_compile": True},
    "several steps": {"steps_per_execution": 4},
}


def check(model, before):
    """Zeros exactly on the masks, and the survivors have moved."""
    for weight, old in zip(masked_weights.require(model), before, strict=True):
        np.testing.assert_array_equal(weight.values() != 0, weight.alive())
        assert (weight.values() != old)[weight.alive()].any()


def values(model):
    return [np.array(weight.values()) for weight in masked_weights.require(model)]


# Others are in `test_every_backend.py`.
QUICK = [("momentum with decay",), ("adam with clipping",), ("muon",), ("accumulation",), ("ema",)]


@pytest.mark.parametrize("name", pairwise.quick_or_slow(QUICK, OPTIMIZERS))
def test_every_optimizer(name, data):
    model = compiled(mlp(), OPTIMIZERS[name]())
    model.fit(*data, batch_size=16, epochs=1, verbose=0)  # moments of weights that will go
    kprune.wrap(model)
    kprune.prune(model, 0.7)
    before = values(model)
    model.fit(*data, batch_size=16, epochs=2, verbose=0)
    check(model, before)


@pytest.mark.quick
@pytest.mark.parametrize("loop", LOOPS)
def test_every_loop(loop, data):
    model = kprune.wrap(compiled(mlp(), "adam", **LOOPS[loop]))
    kprune.prune(model, 0.7)
    before = values(model)
    model.fit(*data, batch_size=8, epochs=2, verbose=0)
    check(model, before)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float16"])
def test_every_precision(policy, data):
    keras.config.set_dtype_policy(policy)
    model = kprune.wrap(compiled(mlp(), keras.optimizers.SGD(0.5)))
    kprune.prune(model, 0.7)
    before = values(model)
    model.fit(*data, batch_size=8, epochs=2, verbose=0)
    check(model, before)


def test_a_custom_loop(data):
    model = kprune.wrap(mlp())
    kprune.prune(model, 0.7)
    before, optimizer = values(model), keras.optimizers.Adam(0.01)
    loss = keras.losses.SparseCategoricalCrossentropy()

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(value, variables), variables)

    for _ in range(3):
        train_step(*data)
    check(model, before)


def test_train_on_batch_after_fit_keeps_to_masks_made_later(data):
    """A train step that was traced before `wrap` must not survive it."""
    model = mlp()
    model.fit(*data, verbose=0)
    model.train_on_batch(*data)
    kprune.wrap(model)
    kprune.prune(model, 0.7)
    before = values(model)
    model.train_on_batch(*data)
    check(model, before)
    kprune.strip(model)
    model.fit(*data, verbose=0)
    assert kprune.report(model).sparsity < 0.1  # free again


def test_embeddings_with_sparse_gradients():
    words = keras.Input((6,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 8)(words))
    model = compiled(keras.Model(words, keras.layers.Dense(3, activation="softmax")(x)), "adam")
    kprune.wrap(model)
    kprune.prune(model, 0.6)
    before = values(model)
    x, y = np.random.default_rng(0).integers(0, 20, (32, 6)), np.arange(32) % 3
    model.fit(x, y, epochs=2, verbose=0)
    check(model, before)


def test_recurrent_cells():
    inputs = keras.Input((5, 4))
    x = keras.layers.Bidirectional(keras.layers.LSTM(6))(inputs)
    model = compiled(keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x)))
    kprune.wrap(model)
    kprune.prune(model, 0.6)
    before = values(model)
    model.fit(np.ones((8, 5, 4)), np.arange(8) % 3, epochs=2, verbose=0)
    check(model, before)


def test_averages_are_put_back_on_the_masks(data):
    """`use_ema` writes averages at the end of the fit, after the last projection."""
    model = kprune.wrap(compiled(mlp(), keras.optimizers.Adam(0.01, use_ema=True)))
    schedule = kprune.schedules.Constant(0.7, begin_step=4)
    model.fit(
        *data, batch_size=8, epochs=2, verbose=0, callbacks=[kprune.callbacks.Pruning(schedule)]
    )
    for weight in masked_weights.require(model):
        np.testing.assert_array_equal(weight.values() != 0, weight.alive())


def test_project_after_weights_from_elsewhere(data):
    model = kprune.wrap(mlp())
    kprune.prune(model, 0.5)
    model.set_weights([np.ones_like(each) for each in model.get_weights()])
    report = kprune.report(model)
    assert sum(each.stray for each in report.pruned) == 128
    assert "128 pruned weights are not zero now: write kprune.project(model)" in str(report)
    kprune.project(model)
    assert sum(each.stray for each in kprune.report(model).pruned) == 0
    assert sum(np.count_nonzero(w.values()) for w in masked_weights.require(model)) == 128


def test_nothing_that_is_gone_can_be_nan(data):
    """A weight that becomes infinite under its mask is zero, not NaN."""
    model = kprune.wrap(mlp())
    kprune.prune(model, 0.5)
    kernel = masked_weights.require(model)[0]
    constraint = kernel.variable.constraint
    result = constraint(tf.fill(kernel.variable.shape, float("inf")))
    np.testing.assert_array_equal(np.isinf(result), kernel.alive())
    assert not np.isnan(result).any()
