"""`wrap` and `strip` on every kind of model: nothing visible changes but the zeros."""

import keras
import numpy as np
import pytest
from models import KINDS, compiled, mlp

import kprune
from kprune._masking import filters, masked_weights, wrapping


def state(model):
    return {
        "class": type(model),
        "name": model.name,
        "compiled": model.compiled,
        "optimizer": getattr(model, "optimizer", None),
        "paths": [each.path for each in model.weights],
        "count": model.count_params(),
        "constraints": [each.constraint for each in model.weights],
        "attributes": sorted(vars(model)),
    }


@pytest.mark.quick
@pytest.mark.parametrize("kind", KINDS)
def test_wrap_and_strip_change_nothing_else(kind):
    model, x = KINDS[kind]()
    expected = model.predict(x, verbose=0)
    before = state(model)
    assert kprune.wrap(model) is model
    wrapped = state(model)
    for key in ("class", "name", "compiled", "optimizer", "paths", "count"):
        assert wrapped[key] == before[key]
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    report = kprune.prune(model, 0.5)
    assert report.kept == report.size - round(0.5 * report.size)
    sparse = model.predict(x, verbose=0)
    assert kprune.strip(model) is model
    assert state(model) == before
    np.testing.assert_array_equal(model.predict(x, verbose=0), sparse)
    assert kprune.report(model).sparsity == pytest.approx(0.5, abs=0.01)


def prunable(model):
    return [site.path for site in filters.find_prunable(model)[0]]


def test_what_is_prunable():
    """Kernels of every layer, cells and attention included; biases of two axes are not kernels."""
    assert len(prunable(KINDS["functional"]()[0])) == 7
    names = prunable(KINDS["recurrent"]()[0])
    assert sum("recurrent_kernel" in name for name in names) == 3
    assert sum(name.endswith("embeddings") for name in names) == 1
    names = prunable(KINDS["attention"]()[0])
    assert {"query", "key", "value", "attention_output"} <= {n.split("/")[-2] for n in names}
    assert not any("bias" in name for name in names)
    assert len(prunable(KINDS["shared"]()[0])) == 2


def test_kinds_of_weights():
    def kinds(kind):
        chosen, _ = filters.find_prunable(KINDS[kind]()[0])
        return filters.labels(chosen, "kind")

    assert kinds("recurrent") == ["embedding"] + ["recurrent"] * 6 + ["output"]
    assert kinds("attention") == ["attention"] * 4 + ["feed_forward", "output"]
    assert set(kinds("functional")) == {"convolution", "output"}
    assert set(kinds("kerashub")) == {"embedding", "attention", "feed_forward", "output"}


def test_classes():
    def classes(classes):
        return [w.label for w in masked_weights.require(kprune.wrap(mlp(), classes=classes))]

    assert classes("layer") == ["mlp/hidden", "mlp/logits"]
    assert classes("weight") == ["mlp/hidden/kernel", "mlp/logits/kernel"]
    assert classes({"first": "hidden"}) == ["first", "other"]
    assert classes(lambda site: site.layer.name[0]) == ["h", "l"]
    with pytest.raises(ValueError, match='Write classes="layer"'):
        classes("layers")


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ("hidden", None, ["hidden"]),
        (None, "hidden", ["logits"]),
        (["hidden", "logits"], None, ["hidden", "logits"]),
        (keras.layers.Dense, "logits", ["hidden"]),
        (lambda variable: variable.shape[0] == 16, None, ["logits"]),
    ],
)
def test_include_and_exclude(include, exclude, expected):
    model = kprune.wrap(mlp(), include=include, exclude=exclude)
    assert [weight.location.layer.name for weight in masked_weights.require(model)] == expected


def test_a_layer_can_be_named_itself():
    model = mlp()
    kprune.wrap(model, exclude=model.layers[0])
    assert [weight.location.layer.name for weight in masked_weights.require(model)] == ["logits"]


def test_a_callable_names_weights_that_are_no_kernels():
    class Own(keras.layers.Layer):
        """A layer with a weight of an unusual name."""

        def build(self, shape):
            self.w = self.add_weight(name="w", shape=(shape[-1], 3))

        def call(self, x):
            return x @ self.w

    model = keras.Sequential([keras.Input((4,)), Own(), keras.layers.Dense(2)])
    report = kprune.report(kprune.wrap(model))
    assert [each.reason for each in report.unpruned] == [
        "not a kernel by its name",
        "bias or scale",
    ]
    kprune.strip(model)
    kprune.wrap(model, include=lambda variable: variable.name in ("w", "kernel"))
    assert [w.variable.name for w in masked_weights.require(model)] == ["w", "kernel"]


def test_a_variable_names_itself():
    """A bias too, which no other filter reaches."""
    model = mlp()
    hidden, logits = model.layers
    kprune.wrap(model, include=[hidden.bias, "logits"])
    assert [w.variable for w in masked_weights.require(model)] == [hidden.bias, logits.kernel]
    kprune.prune(model, 0.5)
    assert [w.kept() for w in masked_weights.require(model)] == [0, 40]  # biases begin as zeros
    kprune.strip(model)
    kprune.wrap(model, exclude=hidden.kernel)
    assert [w.variable for w in masked_weights.require(model)] == [logits.kernel]
    kprune.strip(model)
    with pytest.raises(ValueError, match="exclude=mlp/hidden/kernel matches nothing in mlp"):
        kprune.wrap(model, exclude=mlp().layers[0].kernel)


def test_wrapping_twice_is_harmless():
    model = kprune.wrap(mlp())
    kprune.prune(model, 0.5)
    masks = [weight.mask for weight in masked_weights.require(model)]
    kprune.wrap(model)
    assert [id(weight.mask) for weight in masked_weights.require(model)] == [
        id(mask) for mask in masks
    ]
    with pytest.raises(ValueError, match=r"kprune.strip\(model\) first"):
        kprune.wrap(model, pattern="2:4")


def test_a_second_wrap_adds_with_its_own_pattern():
    model = kprune.wrap(mlp(), include="logits")
    kprune.wrap(model, include="hidden", pattern="2:4")
    patterns = [type(weight.pattern).__name__ for weight in masked_weights.require(model)]
    assert patterns == ["NM", "Unstructured"]


def test_zeros_that_are_there_stay():
    """But a kernel that is nothing but zeros has not been trained yet."""
    model = mlp()
    kernel = np.array(model.layers[0].kernel)
    kernel[:, ::2] = 0
    model.layers[0].kernel.assign(kernel)
    model.layers[1].kernel.assign(np.zeros((16, 4)))
    kprune.wrap(model)
    x, y = np.random.default_rng(0).standard_normal((32, 12)), np.arange(32) % 4
    model.fit(x, y, epochs=2, verbose=0)
    assert (np.array(model.layers[0].kernel)[:, ::2] == 0).all()
    assert (np.array(model.layers[1].kernel)[1::2] != 0).all()
    assert kprune.prune(model, 0.1).kept == 96 + 64  # sparser already: left as it is


@pytest.mark.parametrize("pattern", ["unstructured", "tflite_float32", "channel", "2:4"])
def test_zeros_that_are_there_stay_under_every_pattern(pattern):
    model = mlp()
    kernel = np.array(model.layers[0].kernel)
    zeros = np.random.default_rng(0).random(kernel.shape) < 0.3
    model.layers[0].kernel.assign(np.where(zeros, 0, kernel))
    kprune.wrap(model, pattern=pattern)
    for sparsity in (0.3, 0.6):
        report = kprune.prune(model, sparsity)
        assert not masked_weights.require(model)[0].alive()[zeros].any()
        assert abs(report.size - report.kept - round(sparsity * 256)) <= 8  # half a channel


def test_shared_weights_have_one_mask():
    model, _ = KINDS["shared"]()
    assert len(masked_weights.require(kprune.wrap(model))) == 2
    embedding = keras.layers.ReversibleEmbedding(9, 4)
    words = keras.Input((3,), dtype="int32")
    tied = keras.Model(words, embedding(embedding(words), reverse=True))
    assert len(masked_weights.require(kprune.wrap(tied))) == 1


def test_own_constraints_are_composed_and_restored():
    unit = keras.constraints.UnitNorm(axis=0)
    model = keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(16, kernel_constraint=unit), keras.layers.Dense(4)]
    )
    compiled(model, "sgd")
    kprune.wrap(model)
    kprune.prune(model, 0.5)
    x, y = np.random.default_rng(0).standard_normal((32, 12)), np.arange(32) % 4
    model.fit(x, y, epochs=2, verbose=0)
    kernel, mask = np.array(model.layers[0].kernel), masked_weights.require(model)[0].alive()
    np.testing.assert_array_equal(kernel != 0, mask)
    norms = np.linalg.norm(kernel[:, mask.any(axis=0)], axis=0)
    np.testing.assert_allclose(norms, 1, rtol=1e-3)
    assert kprune.strip(model).layers[0].kernel.constraint is unit
    assert model.layers[1].kernel.constraint is None


def test_a_nested_model_may_be_wrapped_alone():
    model, x = KINDS["nested"]()
    inner = model.get_layer("inner")
    kprune.wrap(inner)
    kprune.prune(model, 0.5)
    assert len(masked_weights.require(model)) == len(masked_weights.require(inner)) == 2
    report = kprune.report(model)
    assert report.size - report.kept == round(0.5 * 77)
    kprune.strip(model)
    assert not masked_weights.find(inner) and not vars(inner).get("kprune_masks")


def pruned_layers(inputs=12):
    return [
        keras.Input((inputs,)),
        kprune.wrap(keras.layers.Dense(16, activation="relu", name="hidden")),
        kprune.Pruned(keras.layers.Dense(4, activation="softmax", name="logits"), "tflite_float32"),
    ]


def graph():
    x = inputs = keras.Input((12,))
    for layer in pruned_layers()[1:]:
        x = layer(x)
    return keras.Model(inputs, x, name="graph")


class Parts(keras.Model):
    """Pruned layers as attributes and in a list."""

    def __init__(self):
        super().__init__(name="parts")
        self.first, *self.rest = pruned_layers()[1:]

    def call(self, x):
        x = self.first(x)
        for layer in self.rest:
            x = layer(x)
        return x


def inside():
    inner = keras.Sequential(pruned_layers(), name="inner")
    x = keras.Input((12,))
    return keras.Model(x, inner(x), name="outer")


@pytest.mark.parametrize(
    "make", [lambda: keras.Sequential(pruned_layers(), name="line"), graph, Parts, inside]
)
def test_pruned_layers(make, data):
    model = compiled(make())
    model(data[0])
    kprune.prune(model, 0.5)
    assert len(masked_weights.require(model)) == 2
    model.fit(*data, epochs=1, verbose=0)
    report = kprune.report(model)
    assert abs(report.size - report.kept - 128) <= 2  # half a block
    expected, name = model.predict(data[0], verbose=0), model.name
    plain = kprune.strip(model)
    np.testing.assert_allclose(plain.predict(data[0], verbose=0), expected, rtol=1e-6)
    assert not any(isinstance(each, kprune.Pruned) for each in plain._flatten_layers())
    assert not masked_weights.find(plain) and plain.name == name and type(plain) is type(model)
    assert plain.compiled and "accuracy" in plain.evaluate(*data, verbose=0, return_dict=True)
    assert kprune.report(plain).kept == report.kept


def test_a_pruned_layer_alone():
    layer = kprune.wrap(keras.layers.Dense(3))
    assert isinstance(layer, kprune.Pruned) and kprune.wrap(layer) is layer
    assert layer(np.ones((2, 4))).shape == (2, 3)
    assert [each.shape for each in layer.weights] == [(4, 3), (3,)]
    inner = kprune.strip(layer)
    assert type(inner) is keras.layers.Dense and inner.kernel.constraint is None
    rnn = kprune.wrap(keras.layers.LSTM(3, return_sequences=True))
    assert rnn(np.ones((2, 5, 4))).shape == (2, 5, 3)
    assert len(masked_weights.require(rnn)) == 2
    assert kprune.wrap(keras.layers.Dropout(0.5))(np.ones((2, 3))).shape == (2, 3)


def test_stripped_lends_a_plain_model(data):

    model = kprune.wrap(mlp())
    kprune.prune(model, 0.5)
    masks = [weight.mask for weight in masked_weights.require(model)]
    with pytest.raises(RuntimeError), wrapping.stripped(model) as plain:
        assert plain is model and not masked_weights.find(plain)
        raise RuntimeError
    assert [weight.mask for weight in masked_weights.require(model)] == masks
    model.fit(*data, verbose=0)
    assert kprune.report(model).sparsity == 0.5


def legacy():
    import tf_keras

    return tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (legacy, TypeError, "legacy tf_keras model; expected a model or layer of Keras 3"),
        (lambda: "model", TypeError, "Got a str"),
        (lambda: keras.Sequential([keras.layers.Dense(2)]), ValueError, "is not built"),
        (
            lambda: keras.Sequential([keras.Input((3,)), keras.layers.ReLU()]),
            ValueError,
            "not built",
        ),
    ],
)
def test_what_cannot_be_wrapped(make, error, message):
    with pytest.raises(error, match=message):
        kprune.wrap(make())


@pytest.mark.parametrize(
    "arguments",
    [
        {"include": "embeding"},
        {"exclude": "embeding"},
        {"exclude": ["hidden", "nothing"]},
        {"include": keras.layers.LSTM},
        {"exclude": ["hidden", "logits"]},
        {"pattern": "blocks"},
        {"classes": "layers"},
        {"classes": lambda site: 1 / 0},
    ],
)
def test_a_failed_wrap_changes_nothing(arguments):
    model = mlp()
    before = state(model)
    with pytest.raises((ValueError, ZeroDivisionError)):
        kprune.wrap(model, **arguments)
    assert state(model) == before


def test_the_message_of_a_filter_shows_what_there_is():
    with pytest.raises(ValueError, match=r"exclude='embeding' matches nothing.*mlp/hidden/kernel"):
        kprune.wrap(mlp(), exclude="embeding")
