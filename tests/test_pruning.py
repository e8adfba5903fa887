"""`prune`, `step` and the callbacks: what they promise, and the peers' defects."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import compiled, mlp

import kprune
from kprune._masking import masked_weights
from kprune.callbacks import dropout

SIZE = 12 * 16 + 16 * 4
PolynomialDecay = kprune.schedules.PolynomialDecay


def zeros(model):
    return sum(int((weight.values() == 0).sum()) for weight in masked_weights.require(model))


def fit(model, data, *callbacks, epochs=4, batch_size=16, **kwargs):
    return model.fit(
        *data, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=callbacks, **kwargs
    )


def test_prune_wraps_what_is_not_wrapped():
    model = mlp()
    report = kprune.prune(model, 0.5)
    assert report.kept == SIZE / 2 and len(masked_weights.require(model)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity=1.0; expected the fraction .* less than 1"),
        ({"sparsity": 90}, r"Write sparsity=0.9"),
        ({"sparsity": -0.1}, "sparsity=-0.1"),
        ({"sparsity": "half"}, "sparsity='half'"),
        ({"sparsity": True}, "sparsity=True"),
        ({"sparsity": 0.5, "criterion": "magnitud"}, "Write criterion='magnitude'"),
        ({"sparsity": 0.5, "allocation": "class_blinded"}, "Write allocation='class_blind'"),
        ({"sparsity": {"mlp/hiden": 0.5}}, "'mlp/hiden', which is no class of this model"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_failed_prune_changes_nothing(arguments, message, wrapped):
    model = kprune.wrap(mlp()) if wrapped else mlp()
    before, attributes = model.get_weights(), sorted(vars(model))
    with pytest.raises(ValueError, match=message):
        kprune.prune(model, **arguments)
    assert sorted(vars(model)) == attributes
    assert bool(masked_weights.find(model)) == wrapped
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "tflite_float32", "channel"])
def test_nan_weights_change_nothing(pattern):
    model = kprune.wrap(mlp(), pattern=pattern)
    kernel = np.array(model.layers[1].kernel)
    kernel[3, 2] = np.nan
    model.layers[1].kernel.assign(kernel)
    with pytest.raises(ValueError, match="scores of mlp/logits/kernel hold NaN"):
        kprune.prune(model, 0.5)
    assert kprune.report(model).sparsity == 0


def test_counts_where_the_peers_miscount():
    """A constant kernel loses half; ten at a half lose five; zero loses none; no error near one."""
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2, use_bias=False)])
    model.layers[0].kernel.assign(np.ones((5, 2)))
    kprune.wrap(model)
    assert kprune.prune(model, 0.0).kept == 10
    assert kprune.prune(model, 0.5).kept == 5
    np.testing.assert_array_equal(np.array(model.layers[0].kernel).reshape(-1), [1] * 5 + [0] * 5)
    assert kprune.prune(model, 0.99).kept == 0


def test_the_first_sparsity_comes_at_the_begin_step(data):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(zeros(self.model))

    model = kprune.wrap(mlp())
    pruning = kprune.callbacks.Pruning(PolynomialDecay(0.25, 0.75, 2, 6, frequency=2))
    with pytest.warns(UserWarning, match="updated 3 times between step 2 and step 6"):
        fit(model, data, pruning, Watch(), epochs=2)
    expected = [0, 0, 0.25, 0.25, 0.6875, 0.6875, 0.75, 0.75]
    assert [each / SIZE for each in seen] == pytest.approx(expected, abs=1 / SIZE)


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_it_lands_whatever_the_frequency(steps, data):
    """TFMOT leaves a ramp to 80 % in 150 steps of frequency 100 at 53.3 %."""
    model = kprune.wrap(compiled(mlp(), "adam", steps_per_execution=steps))
    schedule = PolynomialDecay(0.0, 0.8, 0, 15, frequency=10)
    with pytest.warns(UserWarning, match="in jumps. Write frequency=1"):
        fit(model, data, kprune.callbacks.Pruning(schedule))
    assert zeros(model) == round(0.8 * SIZE)


def test_it_warns_where_training_ends_early(data):
    model = kprune.wrap(mlp())
    pruning = kprune.callbacks.Pruning(PolynomialDecay(0.0, 0.8, 0, 100, frequency=10))
    with pytest.warns(UserWarning, match=r"step 100, and this fit at step 16.*not to 80.0%"):
        fit(model, data, pruning)


def test_it_warns_where_the_begin_is_long_past(data):
    model = mlp()
    fit(model, data)
    kprune.wrap(model)
    pruning = kprune.callbacks.Pruning(PolynomialDecay(0.0, 0.8, 0, 20, frequency=5))
    with pytest.warns(UserWarning, match="already made 16 steps.*begin_step=0.0"):
        fit(model, data, pruning)
    assert zeros(model) == round(0.8 * SIZE)


def test_one_cut_is_never_late(data):
    """Where a schedule has one step, a begin that is past means now, and needs no warning."""
    model = mlp()
    fit(model, data)
    fit(kprune.wrap(model), data, kprune.callbacks.Pruning(kprune.schedules.Constant(0.5)))
    assert zeros(model) == 128


def test_fractions_of_the_fit(data):
    model = mlp()
    fit(model, data)  # an optimizer that has counted already
    kprune.wrap(model)
    pruning = kprune.callbacks.Pruning(PolynomialDecay(0.0, 0.8, 0.25, 0.75, frequency=1))
    history = fit(model, data, pruning).history
    assert history["sparsity"] == pytest.approx([0.0, 0.7, 0.8, 0.8], abs=0.01)
    with pytest.raises(ValueError, match="steps_per_epoch"):
        batches = tf.data.Dataset.from_generator(
            lambda: iter([data]),
            output_signature=tuple(tf.TensorSpec(each.shape, each.dtype) for each in data),
        )
        pruning = kprune.callbacks.Pruning(PolynomialDecay(0.0, 0.9))
        model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[pruning])


def test_logs_and_progress(data, capsys):
    model = kprune.wrap(mlp())
    pruning = kprune.callbacks.Pruning(kprune.schedules.Constant(0.5))
    history = model.fit(*data, epochs=2, callbacks=[pruning], verbose=1).history
    assert history["sparsity"] == [0.5, 0.5]
    by_class = [history["sparsity/mlp/hidden"][-1], history["sparsity/mlp/logits"][-1]]
    assert (192 * by_class[0] + 64 * by_class[1]) / SIZE == pytest.approx(0.5)
    assert "sparsity: 0.5000" in capsys.readouterr().out
    quiet = kprune.callbacks.Pruning(kprune.schedules.Constant(0.5), per_class=False)
    assert set(fit(model, data, quiet).history) == {"accuracy", "loss", "sparsity"}


def test_pruning_needs_masks(data):
    with pytest.raises(ValueError, match=r"Write kprune.wrap\(model\)"):
        fit(mlp(), data, kprune.callbacks.Pruning(kprune.schedules.Constant(0.5)))


def test_gradient_accumulation_counts_updates(data):
    optimizer = keras.optimizers.Adam(0.01, gradient_accumulation_steps=2)
    model = kprune.wrap(compiled(mlp(), optimizer))
    schedule = PolynomialDecay(0.0, 0.8, 0.0, 1.0, frequency=1)
    fit(model, data, kprune.callbacks.Pruning(schedule))  # 16 batches, 8 updates
    assert zeros(model) == round(0.8 * SIZE)


def test_checkpoints_are_sparse_at_any_moment(tmp_path, data):
    class Save(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            model = keras.models.clone_model(self.model)
            model.set_weights(self.model.get_weights())
            kernels = [layer.kernel.numpy() for layer in model.layers]
            saved.append(sum(int((kernel == 0).sum()) for kernel in kernels))

    saved = []
    model = kprune.wrap(mlp())
    schedule = kprune.schedules.Function(lambda step: step / 20, 0, 10, 1)
    fit(model, data, kprune.callbacks.Pruning(schedule), Save())
    assert saved == [round(min(step, 10) / 20 * SIZE) for step in range(1, 17)]


def test_step_in_a_loop_of_ones_own(data):
    model, optimizer = kprune.wrap(mlp()), keras.optimizers.Adam(0.01)
    loss = keras.losses.SparseCategoricalCrossentropy()
    schedule = PolynomialDecay(0.0, 0.8, 0.0, 1.0, frequency=0.25).resolve(10)
    made = []
    for _ in range(10):
        with tf.GradientTape() as tape:
            value = loss(data[1], model(data[0], training=True))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(value, variables), variables)
        made.append(kprune.step(model, schedule, int(optimizer.iterations)))
    assert [i + 1 for i, each in enumerate(made) if each] == [1, 2, 4, 6, 8, 10]
    assert zeros(model) == round(0.8 * SIZE)
    with pytest.raises(ValueError, match=r"schedule.resolve\(steps\)"):
        kprune.step(model, PolynomialDecay(0.0, 0.8), 3)
    with pytest.raises(ValueError, match=r"Write kprune.wrap\(model\)"):
        kprune.step(mlp(), schedule, 3)
    with pytest.warns(UserWarning, match="before the schedule, which ends"):
        kprune.step(model, PolynomialDecay(0.0, 0.9, 0, 99), 10, last=True)


def test_nm_follows_the_schedule_in_training(data):
    """TFMOT sets its 2:4 masks once, at the first step."""
    model = kprune.wrap(mlp(), pattern="2:4")
    schedule = PolynomialDecay(0.0, 0.5, 0.0, 0.8, frequency=1)
    history = fit(model, data, kprune.callbacks.Pruning(schedule)).history
    assert history["sparsity"] == sorted(history["sparsity"]) and history["sparsity"][0] < 0.5
    for weight in masked_weights.require(model):
        groups = weight.alive().reshape(-1, 4, weight.variable.shape[1])
        assert (groups.sum(axis=1) == 2).all()


def test_dropout_in_closed_form(data):
    """At 8 % of the connections a rate of .5 becomes .141421."""
    model = kprune.wrap(mlp(inputs=100, dropout=0.5))
    kprune.prune(model, {"mlp/hidden": 0.92})
    x, y = np.zeros((8, 100), "float32"), np.zeros(8)
    model.fit(x, y, verbose=0, callbacks=[kprune.callbacks.DropoutRatioAdjustment()])
    assert model.get_layer("dropout").rate == pytest.approx(0.141421, abs=1e-6)


def test_dropout_follows_the_schedule(data):
    """Each rate from the layer that feeds it; a retrace before and after the fit, none in it."""
    model = kprune.wrap(mlp(dropout=0.5))
    made = []
    make = model.make_train_function
    object.__setattr__(
        model, "make_train_function", lambda force=False: (made.append(force), make(force))
    )
    pruning = kprune.callbacks.Pruning(PolynomialDecay(0.0, 0.8, 0.0, 0.5, frequency=2))
    adjustment = kprune.callbacks.DropoutRatioAdjustment()
    history = fit(model, data, pruning, adjustment).history
    object.__delattr__(model, "make_train_function")
    kept = masked_weights.require(model)[0].kept() / 192
    assert model.get_layer("dropout").rate == pytest.approx(0.5 * kept**0.5)
    assert history["dropout/dropout"][-1] == model.get_layer("dropout").rate
    assert sum(made) == 2
    fit(model, data, adjustment)  # again: from the first rate, not from the adjusted one
    assert model.get_layer("dropout").rate == pytest.approx(0.5 * kept**0.5)
    kprune.wrap(kprune.strip(model))  # a sparse model with an adjusted rate is a new beginning
    fit(model, data, adjustment)
    assert model.get_layer("dropout").rate == pytest.approx(0.5 * kept**0.5)


def test_dropout_is_really_lower_mid_fit():
    """The compiled step uses the new rate: with everything dropped or nothing, outputs tell."""
    inputs = keras.Input((100,))
    x = keras.layers.Dense(400, use_bias=False, name="wide")(inputs)
    x = keras.layers.Dropout(0.5, name="drop")(x)
    model = keras.Model(inputs, x)
    fractions = []

    def dropped(y_true, y_pred):
        return keras.ops.mean(keras.ops.cast(y_pred == 0, "float32"))

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            fractions.append(float(logs["dropped"]))
            self.model.reset_metrics()

    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=[dropped])
    kprune.wrap(model)
    data = np.random.default_rng(0).standard_normal((64, 100)).astype("float32")
    pruning = kprune.callbacks.Pruning(kprune.schedules.Constant(0.75, begin_step=4))
    model.fit(
        data,
        np.zeros((64, 400)),
        batch_size=8,
        verbose=0,
        callbacks=[pruning, kprune.callbacks.DropoutRatioAdjustment(), Watch()],
    )
    assert np.mean(fractions[:4]) == pytest.approx(0.5, abs=0.05)
    assert np.mean(fractions[4:]) == pytest.approx(0.25, abs=0.05)


class Subclassed(keras.Model):
    """Layers defined in another order than they are called."""

    def __init__(self):
        super().__init__()
        self.drop = keras.layers.Dropout(0.4, name="drop")
        self.second = keras.layers.Dense(3, name="second")
        self.first = keras.layers.Dense(8, name="first")

    def call(self, x):
        return self.second(self.drop(keras.ops.relu(self.first(x))))


def fed_by(model, feeds=None):

    found = dropout.find_feeding_weights(model, feeds)
    return {layer.name: [weight.path for weight in sources] for layer, sources in found}


def test_what_feeds_a_dropout_layer():
    assert fed_by(kprune.wrap(mlp(dropout=0.5))) == {"dropout": ["mlp/hidden/kernel"]}
    model = Subclassed()
    model(np.zeros((2, 5), "float32"))
    assert fed_by(kprune.wrap(model)) == {"drop": [model.first.kernel.path]}
    tokens = keras.Input((5, 8))
    x = keras.layers.MultiHeadAttention(2, 4, dropout=0.1)(tokens, tokens)
    x = keras.layers.LSTM(6)(keras.layers.Dropout(0.2, name="after")(x))
    x = keras.layers.Dropout(0.3, name="last")(keras.layers.BatchNormalization()(x))
    model = kprune.wrap(keras.Model(tokens, keras.layers.Dense(2)(x)))
    found = {name: [path.split("/")[-2] for path in paths] for name, paths in fed_by(model).items()}
    assert found["after"] == ["attention_output"]
    assert set(found["last"]) == {"lstm_cell"} and len(found["last"]) == 2
    inner = next(paths for name, paths in found.items() if name not in ("after", "last"))
    assert set(inner) == {"query", "key"}  # the scores, before the values
    assert fed_by(model, {"last": "query"})["last"][0].endswith("query/kernel")
    with pytest.raises(ValueError, match="feeds names 'lost'"):
        fed_by(model, {"lost": "query"})
    with pytest.raises(ValueError, match="matches no masked weight"):
        fed_by(model, {"last": "nothing"})


def test_report():
    model = kprune.wrap(mlp(), include="hidden")
    report = kprune.prune(model, 0.5)
    assert report.sparsity == 0.5 and report.classes == {"mlp/hidden": 0.5}
    assert {(each.path, each.reason) for each in report.unpruned} == {
        ("mlp/hidden/bias", "bias or scale"),
        ("mlp/logits/kernel", "left out by kprune.wrap"),
        ("mlp/logits/bias", "bias or scale"),
    }
    assert report.compression() == (192 + 16 + 64 + 4) / (96 + 16 + 64 + 4)
    again = json.loads(json.dumps(report.to_dict()))
    assert again["kept"] == 96 and again["pruned"][0]["shape"] == [12, 16]
    text = str(report)
    assert "50.00%" in text and "left out by kprune.wrap: 64 values in mlp/logits/kernel" in text
    assert max(map(len, text.splitlines())) <= 100 and "\x1b" not in text


def test_compression_without_embeddings():
    words = keras.Input((3,), dtype="int32")
    x = keras.layers.Flatten()(keras.layers.Embedding(100, 4)(words))
    model = keras.Model(words, keras.layers.Dense(10, use_bias=False)(x))
    kprune.wrap(model, exclude="embeddings")
    report = kprune.prune(model, 0.5)
    assert report.compression() == (400 + 120) / (400 + 60)
    assert report.compression(embeddings=False) == 2


@pytest.mark.parametrize("allocation", ["no such thing", "erk", "class_uniform", 3])
def test_an_allocation_beside_a_mapping_is_checked(allocation):
    """The mapping says how many zeros each class gets: another rule would be ignored."""
    model = mlp()
    before = model.get_weights()
    with pytest.raises((ValueError, TypeError), match=r"allocation=.*expected one of.*[Ww]rite"):
        kprune.prune(model, {"mlp/hidden": 0.5}, allocation=allocation)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not kprune.masked_weights(model)
    classes = kprune.prune(model, {"mlp/hidden": 0.5}, allocation="class_blind").classes
    assert classes == {"mlp/hidden": 0.5, "mlp/logits": 0.0}
