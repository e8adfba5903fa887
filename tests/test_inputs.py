"""Gram matrices of every kind of layer, against the outputs that single weights give."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kprune
from kprune import calibration
from kprune._masking import masked_weights
from kprune._second_order.layer_inputs import observation, readers

layers = keras.layers
SAMPLES = 7


def linear(layer, shape, **kwargs):
    """A model of one layer, whose outputs are linear in its kernels."""
    x = keras.Input(shape, **kwargs)
    model = keras.Model(x, layer(x))
    generator = np.random.default_rng(0)
    return kprune.wrap(model), generator.standard_normal((SAMPLES, *shape)).astype("float32")


def by_derivative(model, x, weight):
    """H of each column: 2/n sum over outputs of (dy/dw) (dy/dw)^T.

    Outputs are linear in the kernel, so a kernel of one and zeros gives a derivative exactly.
    """
    kernel = weight.variable
    held, columns = np.array(kernel), []
    for place in range(held.size):
        kernel.assign(np.eye(held.size)[place].reshape(held.shape))
        columns.append(np.asarray(model(x), np.float64).reshape(-1))
    kernel.assign(held)
    jacobian = np.stack(columns).reshape(*held.shape, -1)  # [*kernel, output]
    matrices = np.stack([weight.view.matrix(each) for each in np.moveaxis(jacobian, -1, 0)])
    return 2 * np.einsum("orc,osc->crs", matrices, matrices) / len(x)


def observed(model, x, **kwargs):
    data = calibration.Calibration(x, model, "test", labelled=False, **kwargs)
    return observation.observe(masked_weights.require(model), data)


def check(model, x, members=None):
    found = observed(model, x, batch_size=3)  # a last batch that is smaller
    for weight in members or masked_weights.require(model):
        gram = found[id(weight.variable)].whole
        expected = by_derivative(model, x, weight)
        for column, each in enumerate(expected):
            got = gram.hessian(gram.group[column])
            np.testing.assert_allclose(got, each, rtol=2e-4, atol=2e-4)
            np.testing.assert_allclose(
                gram.diagonal()[:, column], each.diagonal(), rtol=1e-3, atol=2e-4
            )


@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 3, 6)], ids=str)
def test_dense(shape):
    check(*linear(layers.Dense(5), shape))


# Every equation of an EinsumDense in KerasHub 0.32, letter for letter, with the kernel's shape.
EQUATIONS = [
    ("ab,bc->ac", (6,), (4,)),
    ("ab,bcd->acd", (6,), (2, 4)),
    ("abc,cd->abd", (3, 6), (None, 4)),
    ("abc,cde->abde", (3, 6), (None, 2, 4)),
    ("abc,cdef->abdef", (3, 6), (None, 2, 2, 3)),
    ("abcd,cde->abe", (3, 2, 4), (None, 5)),
    ("bnh,nhd->bd", (2, 4), (5,)),
    ("bquh,uhm->bqm", (3, 2, 4), (None, 5)),
    ("bqm,muh->bquh", (3, 6), (None, 2, 4)),
    ("bkm,mvh->bkvh", (3, 6), (None, 2, 4)),
    ("btd,df->btf", (3, 6), (None, 4)),
    ("btd,ndh->btnh", (3, 6), (None, 2, 4)),
    ("bsd,kdh->bskh", (3, 6), (None, 2, 4)),
    ("btnh,nhd->btd", (3, 2, 4), (None, 5)),
    ("...x,xy->...y", (2, 3, 6), (4,)),
    ("...c,cde->...de", (3, 6), (2, 4)),
    ("bc...,cde->bde...", (6, 3), (2, 4, None)),
    ("eti,eih->eth", (3, 6), (3, 4)),  # a kernel for each of the first axis: experts
    ("bhuwd,hdf->bhuwf", (2, 3, 2, 4), (2, 3, 2, 5)),  # a kernel for each of h
]


@pytest.mark.parametrize(("equation", "shape", "output"), EQUATIONS, ids=lambda each: str(each))
def test_einsum_dense(equation, shape, output):
    given = {} if equation != "eti,eih->eth" else {"batch_size": SAMPLES}
    model, x = linear(layers.EinsumDense(equation, output), shape, **given)
    if given:  # the first axis is no axis of samples here: one batch
        found = observed(model, x, batch_size=SAMPLES)
        (weight,) = masked_weights.require(model)
        gram = found[id(weight.variable)].whole
        expected = by_derivative(model, x, weight)
        for column, each in enumerate(expected):
            np.testing.assert_allclose(gram.hessian(gram.group[column]), each, rtol=1e-3, atol=1e-4)
    else:
        check(model, x)


CONVOLUTIONS = [
    (layers.Conv1D(4, 3), (8, 3)),
    (layers.Conv1D(4, 3, padding="causal", dilation_rate=2), (8, 3)),
    (layers.Conv2D(4, 3, strides=2, padding="same"), (6, 5, 3)),
    (layers.Conv2D(4, (2, 3), dilation_rate=2), (7, 8, 2)),
    (layers.Conv2D(6, 3, groups=2), (5, 5, 4)),
    (layers.Conv3D(3, 2, strides=(1, 2, 1), padding="same"), (3, 4, 3, 2)),
    (layers.DepthwiseConv1D(3, depth_multiplier=2), (8, 3)),
    (layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, padding="same"), (6, 6, 3)),
    (layers.DepthwiseConv2D((2, 3), dilation_rate=2), (7, 8, 2)),
    (layers.Conv1DTranspose(3, 3, strides=2), (5, 2)),
    (layers.Conv2DTranspose(3, 3, strides=2, padding="same"), (4, 4, 2)),
    (layers.Conv2DTranspose(3, (2, 3), output_padding=1, strides=2), (3, 4, 2)),
    (layers.Conv3DTranspose(2, 2, strides=2), (2, 2, 3, 2)),
]


@pytest.mark.parametrize(
    ("layer", "shape"),
    CONVOLUTIONS,
    ids=[f"{type(a).__name__}-{i}" for i, (a, _) in enumerate(CONVOLUTIONS)],
)
def test_convolutions(layer, shape):
    made = type(layer).from_config(layer.get_config())  # layers are built once
    check(*linear(made, shape))


@pytest.mark.parametrize("rank", [1, 2])
def test_separable_convolutions(rank):
    kinds = [layers.SeparableConv1D, layers.SeparableConv2D]
    depthwise = [layers.DepthwiseConv1D, layers.DepthwiseConv2D][rank - 1]
    arguments = {"strides": 2, "padding": "same", "depth_multiplier": 2}
    model, x = linear(kinds[rank - 1](5, 3, **arguments), (6,) * rank + (3,))
    members = {each.variable.name: each for each in masked_weights.require(model)}
    check(model, x, [members["pointwise_kernel"]])  # the outputs are linear in this one alone
    alone, _ = linear(depthwise(3, **arguments), (6,) * rank + (3,))
    expected = by_derivative(alone, x, masked_weights.require(alone)[0])
    gram = observed(model, x)[id(members["depthwise_kernel"].variable)].whole
    for column, each in enumerate(expected):
        np.testing.assert_allclose(gram.hessian(gram.group[column]), each, rtol=1e-3, atol=1e-4)


def steps(layer, x, mask):
    """What a cell is called with, step by step, as the layer's documentation has it."""
    cell, taken = layer.cell, {"kernel": [], "recurrent_kernel": []}
    states = [np.zeros((1, size), "float32") for size in layer.state_size]
    order = range(x.shape[0])
    for t in reversed(order) if layer.go_backwards else order:
        if not mask[t]:
            continue
        h, given = np.asarray(states[0]), x[t][None]
        taken["kernel"].append([given[0]])
        both = [h[0]]
        if isinstance(cell, layers.GRUCell) and not cell.reset_after:
            u = cell.units
            gate = given @ cell.kernel[:, u : 2 * u] + h @ cell.recurrent_kernel[:, u : 2 * u]
            reset = 1 / (1 + np.exp(-(gate + cell.bias[u : 2 * u])))
            both.append(np.asarray(reset * h)[0])
        taken["recurrent_kernel"].append(both)
        _, states = cell(given, states)
        states = [np.asarray(each) for each in keras.tree.flatten(states)]
    return taken


RECURRENT = {
    "simple": lambda: layers.SimpleRNN(4),
    "lstm": lambda: layers.LSTM(4, return_sequences=True),
    "gru": lambda: layers.GRU(4, return_state=True),
    "gru-before": lambda: layers.GRU(4, reset_after=False),
    "backwards": lambda: layers.LSTM(4, go_backwards=True),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent(kind, masked):
    layer = RECURRENT[kind]()
    inputs = keras.Input((5, 3))
    taken = layers.Masking()(inputs) if masked else inputs
    model = kprune.wrap(keras.Model(inputs, keras.tree.flatten(layer(taken))[0]))
    for weight in layer.cell.weights:
        weight.assign(np.random.default_rng(1).standard_normal(weight.shape))
    x = np.random.default_rng(0).standard_normal((SAMPLES, 5, 3)).astype("float32")
    if masked:
        x[:3, 3:] = 0
    found = observed(model, x, batch_size=3)
    sums = {}
    for sample in x:
        for name, rows in steps(layer, sample, (sample != 0).any(axis=1)).items():
            for group, _ in enumerate(rows[0]):
                h = np.stack([each[group] for each in rows])
                sums[name, group] = sums.get((name, group), 0) + 2 * h.T @ h / SAMPLES
    for weight in masked_weights.require(model):
        gram = found[id(weight.variable)].whole
        groups = range(1 + max(group for name, group in sums if name == weight.variable.name))
        assert set(gram.group) == set(groups)
        for group in groups:
            expected = sums[weight.variable.name, group]
            np.testing.assert_allclose(gram.hessian(group), expected, rtol=1e-3, atol=1e-4)
    settings = RECURRENT[kind]()
    for name in ("return_sequences", "return_state", "stateful", "zero_output_for_mask"):
        assert getattr(layer, name) == getattr(settings, name)


def test_bidirectional_and_attention():
    """Layers inside layers are read at their own calls."""
    tokens = keras.Input((4, 6))
    x = layers.MultiHeadAttention(2, 3)(tokens, tokens)
    model = kprune.wrap(keras.Model(tokens, layers.Bidirectional(layers.GRU(2))(x)))
    x = np.random.default_rng(0).standard_normal((SAMPLES, 4, 6)).astype("float32")
    found = observed(model, x)
    rows = x.reshape(-1, 6)
    for weight in masked_weights.require(model):
        gram = found[id(weight.variable)].whole
        assert np.linalg.eigvalsh(gram.hessian(0)).max() > 0
        if any(name in weight.path for name in ("query/", "key/", "value/")):
            np.testing.assert_allclose(gram.hessian(0), 2 * rows.T @ rows / SAMPLES, rtol=1e-4)


def test_embeddings_count_what_is_looked_up():
    words = keras.Input((3,), dtype="int32")
    model = kprune.wrap(keras.Model(words, layers.Embedding(5, 2)(words)))
    x = np.array([[0, 1, 1], [4, 1, 0]], "int32")
    (weight,) = masked_weights.require(model)
    gram = observed(model, x)[id(weight.variable)].whole
    np.testing.assert_allclose(gram.diagonal(), np.repeat([[2], [3], [0], [0], [1]], 2, 1))


@pytest.mark.parametrize(
    ("call", "count"),
    [
        ({}, [2, 2, 2, 0, 0]),
        ({"start_index": 1}, [0, 2, 2, 2, 0]),
        ({"positions": np.array([[0, 1, 1], [4, 1, 0]])}, [2, 3, 0, 0, 1]),
    ],
)
def test_positions_are_looked_up(call, count):
    given = keras.Input((3, 2))
    layer = keras_hub.layers.PositionEmbedding(5)
    model = kprune.wrap(keras.Model(given, layer(given, **call)))
    (weight,) = masked_weights.require(model)
    gram = observed(model, np.ones((2, 3, 2), "float32"))[id(weight.variable)].whole
    np.testing.assert_allclose(gram.diagonal(), np.repeat(np.array(count)[:, None], 2, 1))


def test_sample_weights_count_as_samples():
    model, x = linear(layers.Conv2D(3, 2), (4, 4, 2))
    weight = np.arange(SAMPLES, dtype=float)
    y = np.zeros(SAMPLES)
    found = observed(model, (x, y, weight), batch_size=3)
    twice = np.repeat(x, np.arange(SAMPLES), axis=0)
    expected = observed(model, twice)
    for place, split in found.items():
        np.testing.assert_allclose(
            split.whole.hessian(0), expected[place].whole.hessian(0), rtol=1e-4
        )


def test_a_layer_of_ones_own_warns_until_it_has_a_reader():
    class Own(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 2), name="kernel")

        def call(self, x):
            return x @ self.kernel

    model, x = linear(Own(), (4,))
    with pytest.warns(UserWarning, match="inputs of a Own cannot be read.*READERS"):
        found = observed(model, x)
    (split,) = found.values()
    np.testing.assert_allclose(split.whole.hessian(0), np.eye(4))
    readers.READERS[Own] = readers.extract_dense
    try:
        check(model, x)
    finally:
        del readers.READERS[Own]


def test_layers_get_their_call_back():
    model, x = linear(layers.Dense(3), (4,))
    x = x.copy()
    with pytest.raises(ValueError, match="NaN or infinity among samples 0 to 6"):
        observed(model, x * np.nan)
    model.layers[1].kernel.assign(np.full((4, 3), np.inf))
    model.layers[1].kernel.assign(np.ones((4, 3)))
    observed(model, x)
    assert "call" not in vars(model.layers[1]) and not tf.config.functions_run_eagerly()


def test_a_model_under_tf_function_is_read():
    class Compiled(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        @tf.function
        def call(self, x):
            return self.dense(x)

    model, x = Compiled(), np.ones((5, 4), "float32")
    model(x)
    (split,) = observed(kprune.wrap(model), x).values()
    np.testing.assert_allclose(split.whole.hessian(0), 2 * np.ones((4, 4)))


def test_order_is_that_of_the_data():
    class Backwards(keras.Model):
        def __init__(self):
            super().__init__()
            self.second = layers.Dense(2, name="second")
            self.first = layers.LSTM(3, name="first")

        def call(self, x):
            return self.second(self.first(x))

    model, x = Backwards(), np.ones((5, 4, 2), "float32")
    model(x)
    members = masked_weights.require(kprune.wrap(model))
    data = calibration.Calibration(x, model, "test", labelled=False)
    groups = observation.group_in_order(members, data)
    names = [[weight.path.split("/")[-2:] for weight in group] for group in groups]
    assert [sorted({owner for owner, _ in group}) for group in names] == [["lstm_cell"], ["second"]]
    assert [len(group) for group in groups] == [2, 1]
