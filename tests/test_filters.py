"""What `include`, `exclude`, `classes` and `feeds` match, and how layers are classes."""

import re

import keras
import numpy as np
import pytest
from models import mlp

import kprune
from kprune._masking import filters

layers = keras.layers
pytestmark = pytest.mark.quick


def twelve():
    dense = [layers.Dense(4, name=f"dense_{i}") for i in range(12)]
    return keras.Sequential([keras.Input((4,)), *dense], name="net")


def chosen(model, **choices):
    kprune.wrap(model, **choices)
    return [int(re.search(r"_(\d+)/", w.path)[1]) for w in kprune.masked_weights(model)]


PATTERNS = {
    "dense_1": [1],
    "dense_1/kernel": [1],
    "net/dense_1": [1],
    "dense_1.*": [1, 10, 11],
    "dense_1/": [1],
    "kernel": list(range(12)),
    "net": list(range(12)),
    r"dense_\d$|dense_\d/": list(range(10)),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_whole_parts_of_a_path(pattern):
    expected = PATTERNS[pattern]
    assert chosen(twelve(), include=pattern) == expected
    if len(expected) < 12:
        assert chosen(twelve(), exclude=pattern) == [i for i in range(12) if i not in expected]
    labels = {w.label for w in kprune.masked_weights(kprune.wrap(twelve(), classes={"a": pattern}))}
    assert labels == ({"a"} if len(expected) == 12 else {"a", "other"})


@pytest.mark.parametrize("argument", ["include", "exclude"])
def test_what_matches_nothing_shows_what_would(argument):
    with pytest.raises(ValueError, match=rf"{argument}='dense' matches nothing.*'dense\.\*'"):
        kprune.wrap(twelve(), **{argument: "dense"})
    with pytest.raises(ValueError, match=rf"no regex.*parts of a path. Write {argument}='"):
        kprune.wrap(twelve(), **{argument: "("})


class Experts(layers.Layer):
    """Holds matrices under names of its own, and a bias of two axes."""

    def build(self, shape):
        self.gate = self.add_weight(name="gate_dense", shape=(3, shape[-1], 5))
        self.table = self.add_weight(name="rel_embedding", shape=(7, shape[-1]))
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 2))
        self.bias = self.add_weight(name="bias", shape=(3, 5))

    def call(self, x):
        return keras.ops.einsum("bi,eij->bej", x, self.gate) + self.bias


def experts():
    return keras.Sequential([keras.Input((4,)), Experts(name="experts")], name="net")


def test_weights_of_other_names_are_in_the_report_with_the_line():
    report = kprune.prune(experts(), 0.5)
    assert [weight.path for weight in report.pruned] == ["net/experts/kernel"]
    line = re.search(r"include=(\[.*?\])", " ".join(str(report).split()))[1]
    names = [name.strip("' ") for name in line[1:-1].split(",")]
    assert names == ["gate_dense", "rel_embedding"]
    taken = kprune.prune(kprune.wrap(experts(), include=names), 0.5)
    assert [weight.path.rsplit("/", 1)[1] for weight in taken.pruned] == names


@pytest.mark.parametrize(
    ("include", "names"),
    [
        ("experts", ["kernel"]),
        (".*", ["kernel"]),
        ("rel_embedding", ["rel_embedding"]),
        ("experts/rel_embedding", ["rel_embedding"]),
        ("net/experts/gate_dense", ["gate_dense"]),
        ("^net/experts/gate_dense$", ["gate_dense"]),
        (["net/experts/kernel", "net/experts/gate_dense"], ["gate_dense", "kernel"]),
        ("_embedding$|_dense$", ["gate_dense", "rel_embedding"]),
        (lambda variable: variable.name == "bias", ["bias"]),
    ],
)
def test_a_pattern_takes_other_weights_by_their_own_name(include, names):
    model = kprune.wrap(experts(), include=include)
    assert [w.variable.name for w in kprune.masked_weights(model)] == names


def test_a_model_without_kernels_names_what_it_has():
    class Table(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(name="table", shape=(shape[-1], 2))

        def call(self, x):
            return x @ self.table

    with pytest.raises(ValueError, match=r"include=\.\.\.\): 'table'"):
        kprune.wrap(keras.Sequential([keras.Input((4,)), Table()]))


def tower(name):
    x = keras.Input((8,))
    hidden = layers.Dense(6, activation="relu", name="hidden")(x)
    return keras.Model(x, layers.Dense(3, name="out")(hidden), name=name)


def towers():
    a, b = keras.Input((8,)), keras.Input((8,))
    return keras.Model([a, b], layers.Dot(1)([tower("user")(a), tower("item")(b)]), name="two")


@keras.saving.register_keras_serializable("test_filters")
class Same(keras.Model):
    """Two layers of one name."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [layers.Dense(4, name="block") for _ in range(2)]

    def call(self, x):
        return self.blocks[1](self.blocks[0](x))


def same():
    model = Same(name="same")
    model(np.zeros((1, 4), "float32"))
    return model


CLASSES = {
    "two towers": (towers, ["two/user/hidden", "two/user/out", "two/item/hidden", "two/item/out"]),
    "one name": (same, ["same/block", "same/block#2"]),
    "nested": (
        lambda: keras.Sequential([keras.Input((8,)), tower("in"), layers.Dense(2)], name="m"),
        ["m/in/hidden", "m/in/out", "m/dense"],
    ),
    "functional": (lambda: tower("net"), ["net/hidden", "net/out"]),
    "sequential": (mlp, ["mlp/hidden", "mlp/logits"]),
}


@pytest.mark.parametrize("name", CLASSES)
def test_each_layer_is_a_class_of_the_same_name_in_a_loaded_model(name, tmp_path):
    make, expected = CLASSES[name]
    model = make()
    model.save(tmp_path / "model.keras")
    for each in (model, keras.saving.load_model(tmp_path / "model.keras")):
        report = kprune.prune(each, 0.5, allocation="class_uniform")
        assert list(report.classes) == expected
        for sparsity in report.classes.values():
            assert abs(sparsity - 0.5) < 0.1


class Interpolating(layers.Layer):
    """Keeps values that it computes from its weights, as position embeddings of another size."""

    def build(self, shape):
        self.embeddings = self.add_weight(shape=(4, 3), name="embeddings")
        self.interpolated = self.add_weight(
            shape=(6, 3), name="interpolated_embeddings", trainable=False
        )

    def call(self, x):
        return keras.ops.matmul(x, self.embeddings)


def test_what_is_made_without_training_is_no_weight_unless_it_is_named():
    frozen = layers.Dense(5, trainable=False, name="frozen")
    model = keras.Sequential([keras.Input((4,)), Interpolating(name="position"), frozen])
    report = kprune.report(kprune.wrap(model))
    names = [each.path.split("/", 1)[1] for each in report.pruned]
    assert names == ["position/embeddings", "frozen/kernel"]
    assert "interpolated_embeddings" in [each.path.rsplit("/", 1)[1] for each in report.unpruned]
    assert not any("include" in line and "interpolated" in line for line in str(report).split("\n"))
    kprune.wrap(kprune.strip(model), include="interpolated_embeddings")
    assert len(kprune.masked_weights(model)) == 1


@pytest.mark.parametrize("make", [towers, same])
def test_rows_of_the_report_differ_where_paths_are_equal(make):
    report = kprune.report(kprune.wrap(make()))
    paths = [each.path for each in (*report.pruned, *report.unpruned)]
    assert len(set(paths)) == len(paths)
    for each in report.pruned:
        if "#" not in each.path and make is towers:
            assert len(kprune.masked_weights(kprune.wrap(make(), include=each.path))) == 1
    assert kprune.report(mlp()).pruned[0].path == mlp().layers[0].kernel.path


class MyDepthwise(layers.DepthwiseConv2D):
    pass


class Up(layers.Conv2DTranspose):
    pass


class Split(layers.SeparableConv2D):
    pass


class ConvenientDepthwiseDense(layers.Dense):
    """No convolution, whatever it is called."""


@pytest.mark.parametrize(
    ("own", "base", "arguments", "channels"),
    [
        (MyDepthwise, layers.DepthwiseConv2D, (3,), 3),
        (Up, layers.Conv2DTranspose, (5, 3), 3),
        (Split, layers.SeparableConv2D, (5, 3), 3),
        (ConvenientDepthwiseDense, layers.Dense, (5,), 3),
    ],
)
def test_axes_are_those_of_the_base_class(own, base, arguments, channels):
    shape = (6, 6, channels) if base is not layers.Dense else (channels,)
    found = []
    for kind in (own, base):
        model = keras.Sequential([keras.Input(shape), kind(*arguments)])
        weights = kprune.masked_weights(kprune.wrap(model))
        found.append([(weight.view, weight.location.kind) for weight in weights])
        x = np.random.default_rng(0).normal(size=(20, *shape)).astype("float32")
        assert abs(kprune.prune(model, 0.5, kprune.criteria.OBS(x)).sparsity - 0.5) < 0.05
    assert found[0] == found[1]


def test_patterns_of_paths():
    assert filters.matches_path("a/b", "x/a/b/kernel")
    assert not filters.matches_path("a/b", "x/aa/b/kernel")
    assert filters.matches_path("^x", "x/a") and not filters.matches_path("^a", "x/a")
