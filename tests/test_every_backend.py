"""What holds on every backend: run with KERAS_BACKEND=tensorflow, jax or torch.

`test_backends.py` runs this file in a process for each of JAX and torch.
"""

import contextlib
import copy
import math
import pickle

import keras
import numpy as np
import pairwise
import pytest
from keras import layers, ops
from models import compiled, mlp

import kprune
from kprune._keras import backend, dropout_rates
from kprune.callbacks import dropout
from kprune.export._compressed import container

SCHEDULE = kprune.schedules.PolynomialDecay(0.0, 0.8, begin_step=2, end_step=10, frequency=2)
OPTIMIZERS = {
    "sgd with momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "lion": lambda: keras.optimizers.Lion(0.01),
    "loss scaling": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
    "accumulation": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
}


class Zeros(keras.callbacks.Callback):
    """Fails where a weight is not on its mask at the end of a step."""

    def __init__(self):
        super().__init__()
        self.sparsities = []

    def on_train_batch_end(self, batch, logs=None):
        report = kprune.report(self.model)
        assert not sum(weight.stray for weight in report.pruned)
        assert logs is None or math.isclose(logs.get("sparsity", report.sparsity), report.sparsity)
        self.sparsities.append(report.sparsity)


def fit(model, data, *callbacks, epochs=3, **kwargs):
    zeros = Zeros()
    callbacks = [*callbacks, zeros]
    history = model.fit(
        *data, batch_size=16, epochs=epochs, verbose=0, callbacks=callbacks, **kwargs
    )
    assert np.isfinite(history.history["loss"]).all()
    return zeros.sparsities


CRITERIA = "magnitude", "saliency", "movement"


@pytest.mark.parametrize(
    ("name", "criterion"),
    [(name, CRITERIA[i % len(CRITERIA)]) for i, name in enumerate(OPTIMIZERS)]
    + [("adam", criterion) for criterion in ("magnitude", "movement", "random")],
)
def test_pruning_while_it_trains(name, criterion, data):
    """Each step ends with the sparsity that is logged; the schedule reaches its end."""
    model = kprune.wrap(compiled(mlp(), OPTIMIZERS[name]()))
    pruning = kprune.callbacks.Pruning(SCHEDULE, criterion)
    accumulates = name == "accumulation"  # an update every second step
    sparsities = fit(model, data, pruning, epochs=6 if accumulates else 3)
    size = kprune.report(model).size
    assert sparsities[-1] == 1 - (size - round(0.8 * size)) / size
    assert sorted(sparsities) == sparsities and len(set(sparsities)) == 5


@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"steps_per_execution": 4}], ids=str)
def test_other_loops_of_keras(options, data):
    if backend.NAME == "torch" and "steps_per_execution" in options:
        return  # Keras refuses it there
    model = kprune.wrap(compiled(mlp(), **options))
    assert fit(model, data, kprune.callbacks.Pruning(SCHEDULE))[-1] > 0.79


POLICIES = ["mixed_bfloat16", "mixed_float16", "bfloat16"]


@pytest.mark.parametrize("policy", pairwise.quick_or_slow([("mixed_float16",)], POLICIES))
def test_every_precision(policy, data):
    keras.config.set_dtype_policy(policy)
    model = kprune.wrap(compiled(mlp()))
    assert fit(model, data, kprune.callbacks.Pruning(SCHEDULE))[-1] > 0.79


def test_movement_is_the_sum_over_the_updates():
    """Of a linear model under SGD, computed beside it in NumPy."""
    generator = np.random.default_rng(0)
    x, y = (generator.normal(size=(32, n)).astype("float32") for n in (5, 3))
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    kprune.wrap(model)
    w = np.array(ops.convert_to_numpy(model.layers[0].kernel), np.float64)
    total = np.zeros_like(w)
    for start in range(0, 32, 8):
        a, b = x[start : start + 8], y[start : start + 8]
        gradient = 2 * a.T @ (a @ w - b) / b.size
        total -= w * gradient
        w -= 0.1 * gradient
    with kprune.training.accumulating(model, "movement"):
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    report = kprune.prune(model, 0.4, "movement")
    lowest = np.argsort(total, axis=None)[: report.size - report.kept]
    weight = kprune.masked_weights(model)[0]
    assert set(np.flatnonzero(~weight.alive())) == set(lowest)
    np.testing.assert_allclose(
        weight.values(), np.where(weight.alive(), w, 0), rtol=1e-4, atol=1e-5
    )


def test_dropout_follows_the_data(data):
    model = kprune.wrap(compiled(mlp(dropout=0.4)))
    adjustment = kprune.callbacks.DropoutRatioAdjustment()
    fit(model, data, kprune.callbacks.Pruning(SCHEDULE), adjustment)
    weight = kprune.masked_weights(model)[0]
    expected = 0.4 * math.sqrt(weight.kept() / weight.size)
    assert math.isclose(model.get_layer("dropout").rate, expected, rel_tol=1e-6)


class OwnDropout(layers.Dropout):
    """Has a `call` of its own, so its rate is read when the step is traced."""

    def call(self, inputs, training=False):
        return super().call(inputs, training)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dropout(0.4, seed=3),
        lambda: layers.Dropout(0.4, noise_shape=(None, 1, 50), seed=3),
        lambda: layers.SpatialDropout1D(0.4, seed=3),
        lambda: OwnDropout(0.4, seed=3),
    ],
)
def test_dropout_of_a_changed_rate_is_that_of_keras(make):
    x = np.random.default_rng(0).normal(3, size=(4, 20, 50)).astype("float32")
    expected = [make(), make()]
    expected[1].rate = 0.1
    expected[1](x, training=True)  # the second draw of the same seed
    layer = make()
    model = keras.Sequential([keras.Input((20, 50)), layer])
    with dropout_rates.read_from_variables([layer]) as set_rate:
        for each, rate in zip(expected, (0.4, 0.1), strict=True):
            set_rate(layer, rate)
            np.testing.assert_allclose(
                ops.convert_to_numpy(model(x, training=True)),
                ops.convert_to_numpy(each(x, training=True)),
                rtol=1e-6,
            )
            np.testing.assert_array_equal(ops.convert_to_numpy(model(x, training=False)), x)
    assert layer.rate == 0.1


def test_what_feeds_dropout_through_other_layers():
    image = keras.Input((8, 8, 3))
    a = layers.Conv2D(4, 3, activation="relu", name="a")(image)
    b = layers.MaxPooling2D()(layers.BatchNormalization()(a))
    b = layers.Dropout(0.1, name="first")(layers.Conv2D(4, 2, name="b")(b))
    joined = layers.Concatenate()([layers.Flatten()(a), layers.Flatten()(b)])
    c = layers.Dropout(0.1, name="second")(joined)
    d = layers.LSTM(3, name="d")(layers.Reshape((-1, 4))(c))
    out = layers.Dense(2, name="e")(layers.Dropout(0.1, name="third")(ops.softmax(d)))
    model = kprune.wrap(keras.Model(image, out))
    found = {
        layer.name: {weight.location.owners[1].name for weight in weights}
        for layer, weights in dropout.find_feeding_weights(model)
    }
    assert found == {"first": {"b"}, "second": {"a", "b"}, "third": {"d"}}


def test_other_callbacks(data):
    callbacks = kprune.callbacks
    model = kprune.wrap(compiled(mlp()))
    fit(model, data, callbacks.ThresholdPruning(0.5, frequency=2))
    before = kprune.report(model).sparsity
    assert 0.2 < before < 0.6
    pruning = callbacks.Pruning(kprune.schedules.Constant(0.7, 0.0))
    fit(model, data, pruning, callbacks.Regularization("l2"))
    rewinding = callbacks.Rewinding(step=0.0)
    early = [weight.values().copy() for weight in kprune.masked_weights(model)]
    fit(model, data, rewinding)
    rewinding.rewind()
    for weight, values in zip(kprune.masked_weights(model), early, strict=True):
        np.testing.assert_array_equal(weight.values(), values)
    report = kprune.training.share_weights(model, bits=2)
    assert max(weight.clusters for weight in report.weights) == 4
    compiled(model)
    fit(model, data, callbacks.WeightSharing())
    for weight in kprune.masked_weights(model):
        assert len(np.unique(weight.values()[weight.alive()])) == 4


def test_proximal_steps_end_in_masks(data):
    model = kprune.wrap(compiled(mlp(), keras.optimizers.Adam(0.01)))
    strength = kprune.training.proximal_strength(model, 0.7, steps=8)
    rpp = kprune.callbacks.ReweightedProximal(strength, begin_step=0, end_step=8, reweighting=3)
    model.fit(*data, batch_size=16, epochs=3, verbose=0, callbacks=[rpp])
    report = kprune.report(model)
    assert 0.4 < report.sparsity < 0.85 and not sum(weight.stray for weight in report.pruned)


def test_a_user_constraint_goes_on(data):
    """The bound of a user holds under the mask, on what is left."""
    limit = keras.constraints.MaxNorm(0.5, axis=0)
    model = keras.Sequential(
        [keras.Input((12,)), layers.Dense(8, kernel_constraint=limit), layers.Dense(4, "softmax")]
    )
    kprune.prune(compiled(model, keras.optimizers.SGD(0.5)), 0.5)
    fit(model, data)
    norms = np.linalg.norm(np.asarray(ops.convert_to_numpy(model.layers[0].kernel)), axis=0)
    assert (norms <= 0.5001).all() and (norms > 0.4).any()
    kprune.strip(model)
    assert model.layers[0].kernel.constraint is limit


def test_fine_tuning_as_int8(data):
    model = compiled(mlp())
    kprune.prune(model, 0.5)
    with kprune.training.fake_quantized(model):
        fit(model, data)
    assert kprune.report(model).sparsity == 0.5


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_saving_and_resuming(suffix, data, tmp_path):
    path = str(tmp_path / f"model{suffix}")
    model = compiled(mlp())
    kprune.prune(model, 0.6)
    if suffix == ".keras":
        model.save(path)
        resumed = kprune.wrap(keras.models.load_model(path))
    else:
        model.save_weights(path)
        resumed = kprune.wrap(compiled(mlp()))
        resumed.load_weights(path)
    fit(resumed, data)
    pairs = zip(kprune.masked_weights(model), kprune.masked_weights(resumed), strict=True)
    for before, after in pairs:
        np.testing.assert_array_equal(before.alive(), after.alive())
    assert not vars(kprune.strip(resumed)).get("kprune_state")


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_keep_masks(clone, data):
    model = compiled(mlp())
    kprune.prune(model, 0.6)
    copied = compiled(clone(model))
    fit(copied, data)
    assert kprune.report(copied).sparsity == kprune.report(model).sparsity


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "lion", "nadam", "rmsprop", "sgd"])
def test_compressed_files(optimizer, data, tmp_path):
    model = mlp()
    model.compile(optimizer, "sparse_categorical_crossentropy")
    kprune.prune(model, 0.9)
    kprune.strip(model)
    path = tmp_path / "model.kprune"
    kprune.export.save_compressed(model, path)
    # torch's own optimizers are in the file by the names that other backends know
    directory, _ = container.unpack(path.read_bytes(), 1 << 20)
    assert "keras.src.backend" not in str(directory)
    loaded = kprune.export.load_compressed(path)
    for before, after in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert type(loaded.optimizer) is type(model.optimizer)
    fit(loaded, data)


def test_batch_normalization_after_pruning():
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, use_bias=False), layers.BatchNormalization()]
    )
    kprune.prune(model, 0.5)
    kprune.recalibrate_batch_norm(model, x, batch_size=24)
    kernel, *_, mean, variance = model.get_weights()
    np.testing.assert_allclose(mean, (x @ kernel).mean(0), atol=1e-5)
    np.testing.assert_allclose(variance, (x @ kernel).var(0), rtol=1e-4)


def test_batch_normalization_as_in_the_dense_network():
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4), layers.BatchNormalization()])
    model.layers[-1].moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    dense = copy.deepcopy(model)
    kprune.prune(model, 0.5)
    kprune.recalibrate_batch_norm(model, x, batch_size=64, dense=dense)
    ours, theirs = (np.asarray(backend.to_numpy(each(x))) for each in (model, dense))
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=1e-4)
    np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=1e-3)


def test_costs():
    recurrent = layers.LSTM(8, return_sequences=True)
    model = keras.Sequential([keras.Input((10, 12)), recurrent, layers.Conv1D(3, 2)])
    assert kprune.costs(model).macs == 10 * 4 * 8 * (12 + 8) + 9 * 2 * 8 * 3


def test_wrap_after_a_fit_that_compiled_the_step(data):
    """The step of an outer model is traced again too."""
    inner = mlp()
    outer = keras.Sequential([keras.Input((12,)), inner])
    compiled(outer).fit(*data, verbose=0)
    kprune.wrap(inner)
    kprune.prune(inner, 0.7)
    outer.fit(*data, epochs=2, verbose=0)
    assert not sum(weight.stray for weight in kprune.report(inner).pruned)


def test_an_own_loop(data):
    """Of each backend, as its users write it; masks are updated between compiled steps."""
    x, y = data
    model = kprune.wrap(mlp())
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    loss = keras.losses.SparseCategoricalCrossentropy()
    step = {"tensorflow": _tensorflow_step, "jax": _jax_step, "torch": _torch_step}[backend.NAME]
    train_step = step(model, optimizer, loss)
    for i in range(12):
        train_step(x, y)
        kprune.step(model, SCHEDULE, i + 1, last=i == 11)
        assert not sum(weight.stray for weight in kprune.report(model).pruned)
    assert kprune.report(model).sparsity > 0.79


def _tensorflow_step(model, optimizer, loss):
    import tensorflow as tf

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)

    return step


def _jax_step(model, optimizer, loss):
    import jax

    def compute(trainable, fixed, x, y):
        outputs, fixed = model.stateless_call(trainable, fixed, x, training=True)
        return loss(y, outputs), fixed

    @jax.jit
    def update(state, x, y):
        trainable, fixed, variables = state
        (_, fixed), gradients = jax.value_and_grad(compute, has_aux=True)(trainable, fixed, x, y)
        trainable, variables = optimizer.stateless_apply(variables, gradients, trainable)
        return trainable, fixed, variables

    held = model.trainable_variables, model.non_trainable_variables, optimizer.variables

    def step(x, y):
        state = update([[variable.value for variable in group] for group in held], x, y)
        for group, values in zip(held, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)

    return step


def _torch_step(model, optimizer, loss):
    import torch

    def step(x, y):
        model.zero_grad()
        loss(ops.convert_to_tensor(y), model(x, training=True)).backward()
        with torch.no_grad():
            variables = model.trainable_weights
            optimizer.apply([variable.value.grad for variable in variables], variables)

    return step


NEEDS_TENSORFLOW = {
    "obd": lambda model, x, y: kprune.prune(model, 0.5, kprune.criteria.OBD((x, y))),
    "obs, full": lambda model, x, y: kprune.prune(
        model, 0.5, kprune.criteria.OBS((x, y), hessian="full")
    ),
    "obs, block": lambda model, x, y: kprune.prune(
        model, 0.5, kprune.criteria.OBS((x, y), hessian="block")
    ),
    "to_tflite": lambda model, x, y: kprune.export.to_tflite(model, "model.tflite"),
    "to_saved_model": lambda model, x, y: kprune.export.to_saved_model(model, "model"),
    "check": lambda model, x, y: kprune.export.check(model),
}


@pytest.mark.parametrize("name", NEEDS_TENSORFLOW)
def test_what_needs_tensorflow_says_so(name, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = compiled(mlp())
    before = model.get_weights()
    there = backend.NAME == "tensorflow"
    expected = pytest.raises(RuntimeError, match="needs TensorFlow.*KERAS_BACKEND")
    with contextlib.nullcontext() if there else expected:
        NEEDS_TENSORFLOW[name](model, *data)
    if not there:
        assert not list(tmp_path.iterdir())
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def test_tensors_of_any_library_as_data():
    x = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")
    torch = pytest.importorskip("torch")
    dataset = torch.utils.data.TensorDataset(torch.tensor(x), torch.zeros(64, dtype=torch.int32))
    kept = []
    for data in (x, [x[:32], x[32:]], torch.utils.data.DataLoader(dataset, batch_size=16)):
        model = mlp()
        model.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in mlp().weights])
        if isinstance(data, list):
            data = [(part,) for part in data]
        kprune.prune(model, 0.5, kprune.criteria.Wanda(data))
        kept.append([weight.alive().copy() for weight in kprune.masked_weights(model)])
    for other in kept[1:]:
        for a, b in zip(kept[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
