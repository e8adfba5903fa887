"""A weight has one name, its path in the Keras model, in every report of an export."""

import keras
import numpy as np
import pairwise
import pytest

import kprune
from kprune import export
from kprune.export._tflite import checking
from kprune.export._tflite.format import constants, flatbuffer

layers = keras.layers
PRECISIONS = [None, "float16", "dynamic", "int8"]


def drawn(model, seed=0):
    """Gives every float variable values of its own, variances positive ones."""
    random = np.random.default_rng(seed)
    for variable in model.variables:
        if "float" in str(variable.dtype):
            values = random.normal(0.0, 1.0, variable.shape)
            variable.assign(np.abs(values) + 0.5 if "variance" in variable.path else values)
    return model


def names(model, quantization=None):
    """The constants of the dense file, by the names that reports give them."""
    content, paths = checking._convert(model, quantization, None, None)
    return {
        paths[constant.graph, constant.name]: constant
        for constant in constants.find(flatbuffer.parse(content))
        if (constant.graph, constant.name) in paths
    }


def kernels(model):
    return {each.path for each in model.variables if each.path.endswith(("kernel", "embeddings"))}


def test_the_same_weight_has_one_name_everywhere(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(64, 3, name="stem"),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(64, name="dense"),
            layers.Dense(32, name="dense_1"),
        ],
        name="net",
    )
    pruned = {each.path for each in kprune.prune(model, 0.9).pruned}
    kprune.strip(model)
    assert pruned == {"net/stem/kernel", "net/dense/kernel", "net/dense_1/kernel"}
    checked = export.check(model)
    written = export.to_tflite(model, tmp_path / "m.tflite", timing_seconds=0)
    stored = export.save_compressed(model, tmp_path / "m.kprune")
    assert {each.name for each in checked.weights} == pruned
    assert {each.name for each in written.tensors if len(each.shape) > 1} == pruned
    assert {each.name for each in stored.tensors} == {each.path for each in model.variables}
    shapes = {each.name: each.shape for each in stored.tensors}
    assert shapes == {each.path: tuple(each.shape) for each in model.variables}
    for report in (checked, written, stored):
        assert all(path in str(report) for path in pruned)
    for weight in checked.weights:
        plain = keras.models.clone_model(model)
        wrapped = kprune.wrap(plain, include=f"^{weight.name}$")
        assert [each.path for each in kprune.report(wrapped).pruned] == [weight.name]


def folded():
    """Batch normalization after every kind of convolution; all kernels differ in size."""
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(5)(x)))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(12, 1)(x)))
    x = layers.Conv2DTranspose(6, 3)(x)
    x = layers.GlobalAveragePooling2D()(layers.SeparableConv2D(10, 3)(x))
    return keras.Model(image, layers.Dense(5)(layers.Dense(16, "relu")(x)))


def sequences():
    values = keras.Input((20, 3))
    x = layers.SeparableConv1D(8, 3)(layers.Conv1D(6, 5)(values))
    return keras.Model(values, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))


def volumes():
    return keras.Sequential(
        [keras.Input((6, 6, 6, 2)), layers.Conv3D(5, 3), layers.Flatten(), layers.Dense(3)]
    )


def embedded():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.LayerNormalization()(layers.Embedding(30, 16)(tokens))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(x, x)])
    return keras.Model(tokens, layers.Dense(9)(x))


def inner(name, units):
    inputs = keras.Input((8,))
    return keras.Model(inputs, layers.Dense(units, name="dense")(inputs), name=name)


def nested():
    inputs = keras.Input((8,))
    x = inner("first", 8)(inputs)
    return keras.Model(inputs, layers.Dense(7, name="head")(layers.ReLU()(inner("second", 8)(x))))


MODELS = {
    "folded": folded,
    "sequences": sequences,
    "volumes": volumes,
    "embedded": embedded,
    "nested": nested,
}


PRECISIONS = [None, "float16", "dynamic"]


@pytest.mark.parametrize(
    ("kind", "quantization"),
    pairwise.quick_or_slow(pairwise.each_once(list(MODELS), PRECISIONS), MODELS, PRECISIONS),
)
def test_every_kernel_is_found(kind, quantization):
    model = drawn(MODELS[kind]())
    found = names(model, quantization)
    assert kernels(model) <= set(found)
    for variable in model.variables:
        if variable.path in kernels(model) and kind != "nested":
            assert found[variable.path].stored.size == np.prod(variable.shape)


def test_integers_are_found(tmp_path):
    assert kernels(model := drawn(folded())) <= set(names(model, "int8"))


def test_attention_is_not_mixed_up():
    """Query, key and value have the same shape."""
    model = drawn(embedded())
    found = names(model)
    for name in ("query", "key", "value"):
        (kernel,) = [each for each in model.variables if each.path.endswith(f"{name}/kernel")]
        stored = found[kernel.path].stored
        np.testing.assert_array_equal(stored, kernel.numpy().reshape(16, 16).T)


@pytest.mark.parametrize("cell", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_recurrent_kernels(cell):
    tokens = keras.Input((7,), dtype="int32")
    model = drawn(keras.Model(tokens, layers.Dense(9)(cell(12)(layers.Embedding(40, 10)(tokens)))))
    found = set(names(model))
    assert {each for each in kernels(model) if "embedding" in each or "dense" in each} <= found
    assert {each.path for each in model.variables if each.path.endswith("kernel")} <= found


def test_tied_weights_have_one_name():
    tokens = keras.Input((6,), dtype="int32")
    embedding = layers.Embedding(40, 16)
    x = layers.GlobalAveragePooling1D()(embedding(tokens))
    model = drawn(
        keras.Model(tokens, keras.ops.matmul(x, keras.ops.transpose(embedding.embeddings)))
    )
    content, paths = checking._convert(model, None, None, None)
    assert set(paths.values()) == {embedding.embeddings.path}


def test_equal_values_are_told_apart_by_the_layers():
    """Two kernels of zeros, two of ones: the converter may store each pair once."""
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(8, "relu", kernel_initializer="zeros", name="first"),
            layers.Dense(8, "relu", kernel_initializer="zeros", name="second"),
            layers.Dense(8, "relu", kernel_initializer="ones", name="third"),
        ],
        name="equal",
    )
    found = names(model)
    assert "equal/third/kernel" in found
    assert found.keys() & {"equal/first/kernel", "equal/second/kernel"}
    for path, constant in found.items():
        expected = 0.0 if "third" not in path or path.endswith("bias") else 1.0
        assert np.all(constant.stored == expected)


def test_what_is_of_no_variable_keeps_the_converter_s_name():
    model = drawn(folded())
    content, paths = checking._convert(model, None, None, None)
    others = [
        constant
        for constant in constants.find(flatbuffer.parse(content))
        if (constant.graph, constant.name) not in paths
    ]
    # Biases that are folded, and numbers that the graph needs.
    assert others and all(sum(n > 1 for n in constant.shape) < 2 for constant in others)


def test_names_of_a_compressed_file_are_those_of_the_variables(tmp_path):
    """Statistics, and layers of the same name in two submodels."""
    inputs = keras.Input((8,))
    x = layers.BatchNormalization()(layers.Dropout(0.2)(inner("a", 8)(inputs)))
    model = keras.Model(inputs, inner("b", 8)(x))
    report = export.save_compressed(model, tmp_path / "model.kprune")
    assert sorted(each.name for each in report.tensors) == sorted(
        each.path for each in model.weights
    )


def test_obstacles_are_told_by_the_names_of_layers():
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(32, 3, 2, padding="same", name="stem")(image)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(64, 1, name="point")(x))
    report = export.check(keras.Model(image, layers.Dense(10)(x)), "arm")
    (reason,) = [each.slower for each in report.weights if each.name == "point/kernel"]
    assert reason.startswith('stem has padding="same"')
