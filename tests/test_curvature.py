"""Curvature of a model's own loss: closed forms, finite differences, and plain loops."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kprune
from kprune import calibration
from kprune._keras import compiled
from kprune._second_order import hessian as hessians
from kprune._second_order.hessian import inverse

layers = keras.layers
ESTIMATORS = ["gauss_newton", "empirical_fisher", "hutchinson", "exact", "backward"]


def made(model, x, y, weight=None, loss="mse", batch_size=128):
    """A compiled loss as a function of every kernel and bias, and its data."""
    model.compile("sgd", loss)
    given = (x, y) if weight is None else (x, y, weight)
    data = calibration.Calibration(given, model, "test", labelled=True, batch_size=batch_size)
    return hessians.Objective(model, model.trainable_variables, "test"), data


def network(*stack, inputs=(5,), dtype="float64"):
    keras.config.set_floatx(dtype)  # losses are computed in it
    keras.config.set_dtype_policy(dtype)
    return keras.Sequential([keras.Input(inputs, dtype=dtype), *(make() for make in stack)])


def points(samples=12, inputs=5, outputs=3, seed=0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((samples, inputs)), generator.standard_normal(
        (samples, outputs)
    )


def flat(arrays):
    return np.concatenate([np.asarray(each).reshape(-1) for each in arrays])


def hessian(loss, x, y, weight=None, step=1e-5):
    """The Hessian by central differences of the gradient, one weight at a time."""
    gradient = tf.function(lambda: loss.gradient(x, y, weight), autograph=False)
    columns = []
    for variable in loss.variables:
        held = variable.numpy()
        for place in np.ndindex(held.shape):
            gradients = []
            for sign in (1, -1):
                moved = held.copy()
                moved[place] += sign * step
                variable.assign(moved)
                gradients.append(flat(gradient()))
            variable.assign(held)
            columns.append((gradients[0] - gradients[1]) / (2 * step))
    return np.stack(columns)


def softmax_network():
    """Two layers, with the same weights each time."""
    model = network(lambda: layers.Dense(4, "tanh"), lambda: layers.Dense(3, "softmax"))
    generator = np.random.default_rng(5)
    model.set_weights([0.5 * generator.standard_normal(each.shape) for each in model.weights])
    return model


def softmax_problem():
    """The network's loss on twelve samples of three classes, their batches, and the samples."""
    x, _ = points()
    y = np.arange(12) % 3
    return *made(softmax_network(), x, y, loss="sparse_categorical_crossentropy"), x, y


@functools.cache
def softmax_hessian():
    """The Hessian of the problem, once for all tests."""
    loss, _, x, y = softmax_problem()
    return hessian(loss, x, y)


@pytest.mark.parametrize("mode", ["reverse_over_reverse", "forward_over_reverse"])
def test_products_with_the_hessian(mode):
    loss, _, x, y = softmax_problem()
    v = [np.random.default_rng(1).standard_normal(each.shape) for each in loss.variables]
    found = tf.function(hessians.build_hessian_vector_product(loss, mode))(x, y, None, v)
    np.testing.assert_allclose(flat(found), softmax_hessian() @ flat(v), atol=1e-7)


def test_products_reach_through_recurrent_layers():
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((6, 4, 2)), generator.standard_normal((6, 1))
    model = network(lambda: layers.LSTM(2), lambda: layers.Dense(1), inputs=(4, 2))
    loss, _ = made(model, x, y)
    v = [generator.standard_normal(each.shape) for each in loss.variables]
    found = tf.function(hessians.build_hessian_vector_product(loss))(x, y, None, v)
    np.testing.assert_allclose(flat(found), hessian(loss, x, y) @ flat(v), atol=1e-6)


def test_an_unknown_mode_says_what_to_write():
    with pytest.raises(ValueError, match="Write mode="):
        hessians.build_hessian_vector_product(None, "sideways")


@pytest.mark.parametrize(
    ("estimator", "weighted"),
    [(each, w) for each in ESTIMATORS for w in (False, True) if w or each != "hutchinson"],
)
def test_a_linear_model_in_closed_form(estimator, weighted):
    """L = mean s (w.x - y)^2: all but the empirical Fisher have the diagonal of 2 X^T S X / n."""
    x, y = points(20, 5, 1)
    weight = np.random.default_rng(2).random(20) if weighted else None
    s = np.ones(20) if weight is None else weight
    model = network(lambda: layers.Dense(1, use_bias=False))
    loss, data = made(model, x, y, weight, batch_size=8)
    w = np.array(model.layers[0].kernel)
    if estimator == "hutchinson":
        estimator = hessians.Hutchinson(probes=4000, relative_error=0.02)
        tolerance = {"atol": 0.1}
    else:
        estimator, tolerance = hessians.get(estimator), {"rtol": 1e-10}
    expected = 2 * np.einsum("n,nk,nk->k", s, x, x) / 20
    if isinstance(estimator, hessians.EmpiricalFisher):
        expected = np.einsum("n,nk->k", s * ((2 * (x @ w - y))[:, 0]) ** 2, x**2) / 20
    found = estimator.diagonal(loss, data)
    np.testing.assert_allclose(found[0][:, 0], expected, **tolerance)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus"])
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_the_backward_diagonal_is_exact_for_one_hidden_layer(activation, output):
    """With the second derivative of the activation, to 1e-7 of finite differences."""
    x, y = points(outputs=1)
    model = network(lambda: layers.Dense(4, activation), lambda: layers.Dense(1, output))
    loss, data = made(model, x, y, batch_size=5)
    found = hessians.Backward(levenberg_marquardt=False).diagonal(loss, data)
    np.testing.assert_allclose(flat(found), np.diag(hessian(loss, x, y)), atol=1e-7)


def test_the_backward_diagonal_drops_what_may_be_negative():
    x, y = points(outputs=1)
    model = network(lambda: layers.Dense(4, "tanh"), lambda: layers.Dense(1, "sigmoid"))
    loss, data = made(model, x, 10 * y)
    whole = hessians.Backward(levenberg_marquardt=False).diagonal(loss, data)
    found = hessians.Backward().diagonal(loss, data)
    assert flat(whole).min() < 0 <= flat(found).min()
    gauss_newton = hessians.GaussNewton().diagonal(loss, data)
    np.testing.assert_allclose(flat(found), flat(gauss_newton), rtol=1e-10)  # one output


def test_the_backward_diagonal_starts_from_the_logits():
    loss, data, x, y = softmax_problem()
    found = hessians.Backward(levenberg_marquardt=False).diagonal(loss, data)
    exact = np.diag(softmax_hessian())
    np.testing.assert_allclose(flat(found[2:]), exact[-15:], atol=1e-7)  # of the last layer
    apart = network(
        lambda: layers.Dense(4, "tanh"), lambda: layers.Dense(3), lambda: layers.Softmax()
    )
    apart.set_weights(loss.model.get_weights())
    other, data = made(apart, x, y, loss="sparse_categorical_crossentropy")
    again = hessians.Backward(levenberg_marquardt=False).diagonal(other, data)
    np.testing.assert_allclose(flat(again), flat(found), rtol=1e-9)


@pytest.mark.parametrize("pooling", ["average", "max", "global"])
def test_the_backward_diagonal_of_a_convolution_sums_over_its_connections(pooling):
    """As if each place had a kernel of its own: exact second derivatives of these, summed."""
    pool = {
        "average": lambda: layers.AveragePooling2D(2),
        "max": lambda: layers.MaxPooling2D(2),
        "global": lambda: layers.GlobalAveragePooling2D(),
    }[pooling]
    model = network(
        lambda: layers.Conv2D(2, 2, activation="tanh", use_bias=False),
        pool,
        lambda: layers.Flatten(),
        lambda: layers.Dense(1, use_bias=False),
        inputs=(5, 5, 2),
    )
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((6, 5, 5, 2)), generator.standard_normal((6, 1))
    loss, data = made(model, x, y)
    found = hessians.Backward(levenberg_marquardt=False).diagonal(loss, data)
    kernel, head = (np.array(each) for each in model.get_weights())
    patches = np.stack(
        [x[:, i : i + 2, j : j + 2].reshape(6, -1) for i in range(4) for j in range(4)], 1
    )  # [sample, place, window and channel]
    own = tf.Variable(np.broadcast_to(kernel.reshape(8, 2), (16, 8, 2)).copy())

    pooled = pool()

    def value():
        z = tf.tanh(tf.einsum("npk,pko->npo", patches, own))
        outputs = pooled(tf.reshape(z, (6, 4, 4, 2)))
        return tf.reduce_mean((tf.reshape(outputs, (6, -1)) @ head - y) ** 2)

    @tf.function(autograph=False)
    def second(mask):
        """The second derivative by one entry of one place's kernel."""
        with tf.GradientTape() as outer:
            with tf.GradientTape() as tape:
                each = value()
            entry = tf.reduce_sum(mask * tape.gradient(each, own))
        return tf.reduce_sum(mask * outer.gradient(entry, own))

    expected = np.zeros((8, 2))
    masks = np.eye(own.shape.num_elements()).reshape(-1, *own.shape)
    for mask, place in zip(masks, np.ndindex(*own.shape), strict=True):
        expected[place[1:]] += second(tf.constant(mask)).numpy()
    np.testing.assert_allclose(found[0].reshape(8, 2), expected, atol=1e-8)


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ([lambda: layers.LayerNormalization(), lambda: layers.Dense(1)], "LayerNormalization"),
        ([lambda: layers.Dense(3, "softmax"), lambda: layers.Dense(1)], "softmax"),
    ],
)
def test_the_backward_diagonal_says_what_it_does_not_know(stack, message):
    x, y = points(outputs=1)
    loss, data = made(network(*stack), x, y)
    with pytest.raises(ValueError, match=f'{message}.*Write estimator="gauss_newton"'):
        hessians.Backward().diagonal(loss, data)


def test_the_backward_diagonal_needs_one_chain():
    a = keras.Input((5,))
    model = keras.Model(a, layers.Add()([layers.Dense(2)(a), layers.Dense(2)(a)]))
    x, y = points(outputs=2)
    loss, data = made(model, x, y)
    with pytest.raises(ValueError, match="no chain of layers"):
        hessians.Backward().diagonal(loss, data)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_exact_diagonal(weighted):
    x, _ = points()
    y, weight = np.arange(12) % 3, np.arange(12.0) if weighted else None
    loss, data = made(softmax_network(), x, y, weight, "sparse_categorical_crossentropy", 5)
    found = hessians.Exact(chunk=7).diagonal(loss, data)
    expected = hessian(loss, x, y, weight) if weighted else softmax_hessian()
    np.testing.assert_allclose(flat(found), np.diag(expected), atol=1e-7)


@pytest.mark.parametrize("probes", [4, 64])
def test_hutchinson_errs_as_much_as_it_may(probes):
    """Within five standard deviations, sqrt(sum_{j != i} H_ij^2 / probes)."""
    loss, data, x, y = softmax_problem()
    matrix = softmax_hessian()
    estimator = hessians.Hutchinson(probes=probes, relative_error=0, seed=3)
    error = np.abs(flat(estimator.diagonal(loss, data)) - np.diag(matrix))
    off = matrix - np.diag(np.diag(matrix))
    assert (error <= 5 * np.sqrt((off**2).sum(axis=1) / probes) + 1e-9).all()
    assert error.max() > 1e-6  # it is an estimate


def test_hutchinson_is_exact_for_a_diagonal_hessian():
    x, y = np.eye(5), np.zeros((5, 1))
    loss, data = made(network(lambda: layers.Dense(1, use_bias=False)), x, y)
    (found,) = hessians.Hutchinson(probes=1).diagonal(loss, data)
    np.testing.assert_allclose(found, np.full((5, 1), 2 / 5), rtol=1e-12)


def test_hutchinson_stops_at_the_wanted_error():
    loss, data, x, y = softmax_problem()
    passes = []
    average = loss.average
    loss.average = lambda *arguments: (passes.append(1), average(*arguments))[1]
    found = hessians.Hutchinson(probes=500, relative_error=0.2).diagonal(loss, data)
    assert 2 <= len(passes) < 500
    exact = np.diag(softmax_hessian())
    assert np.linalg.norm(flat(found) - exact) <= 3 * 0.2 * np.linalg.norm(exact)


def jacobian(model, variables, x, of):
    """The derivative of some tensor of each sample by all weights, [sample, output, weight]."""
    rows = []
    for sample in x:
        with tf.GradientTape(persistent=True) as tape:
            outputs = tf.reshape(of(model, sample[None]), [-1])
            each = [outputs[i] for i in range(outputs.shape[0])]
        rows.append([flat(tape.gradient(e, variables, unconnected_gradients="zero")) for e in each])
    return np.array(rows)


def before_softmax(model, x):
    hidden = model.layers[0](x)
    return hidden @ tf.convert_to_tensor(model.layers[1].kernel) + model.layers[1].bias


@pytest.mark.parametrize("exact", [True, False])
def test_gauss_newton_factors(exact):
    """Of softmax and cross entropy: J^T (diag p - p p^T) J, J of the logits; or on average."""
    x, _ = points(8)
    y, weight = np.arange(8) % 3, np.random.default_rng(4).random(8)
    times = 1 if exact else 400  # the same samples again, each time with other signs
    given = [np.concatenate([each] * times) for each in (x, y, weight)]
    loss, data = made(softmax_network(), *given, "sparse_categorical_crossentropy", 5 * times)
    settings = {} if exact else {"exact": 2, "draws": 2}
    rows = [r for _, r in hessians.Factors(loss, **settings).rows(data)]
    rows = np.concatenate([each.reshape(-1, each.shape[-1]) for each in rows])
    j = jacobian(loss.model, loss.variables, x, before_softmax)
    p = np.asarray(loss.model(x))
    expected = sum(
        s * each.T @ (np.diag(q) - np.outer(q, q)) @ each
        for s, each, q in zip(weight, j, p, strict=True)
    )
    tolerance = 1e-8 if exact else 0.1 * np.abs(expected).max()
    np.testing.assert_allclose(rows.T @ rows / times, expected, atol=tolerance)
    if exact:
        found = hessians.GaussNewton().diagonal(loss, data)
        np.testing.assert_allclose(flat(found), np.diag(expected) / 8, atol=1e-10)


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_gauss_newton_where_the_loss_does_not_look_behind(output):
    """Squared error of the outputs themselves: J^T 2/k J with J of the outputs."""
    x, y = points(8)
    model = network(lambda: layers.Dense(4, "tanh"), lambda: layers.Dense(3, output))
    loss, data = made(model, x, y)
    j = jacobian(model, loss.variables, x, lambda model, sample: model(sample))
    expected = 2 / 3 * np.einsum("nok,nok->k", j, j) / 8
    found = hessians.GaussNewton().diagonal(loss, data)
    np.testing.assert_allclose(flat(found), expected, rtol=1e-8)


@pytest.mark.parametrize("regularized", [False, True])
def test_empirical_fisher_factors(regularized):
    """The gradient of each sample's own loss, without what layers add to it."""
    penalty = keras.regularizers.L2(0.1) if regularized else None
    x, _ = points(8)
    y, weight = np.arange(8) % 3, np.random.default_rng(4).random(8)
    model = network(
        lambda: layers.Dense(4, "tanh", kernel_regularizer=penalty),
        lambda: layers.Dense(3, "softmax"),
    )
    loss, data = made(model, x, y, weight, "sparse_categorical_crossentropy", 5)

    def of(model, sample):
        here = y[np.flatnonzero((x == sample).all(axis=1))]
        return -tf.math.log(model(sample)[0, int(here[0])])

    expected = jacobian(model, loss.variables, x, of)[:, 0] * np.sqrt(weight)[:, None]
    rows = [r[:, 0] for _, r in hessians.Factors(loss, "empirical_fisher").rows(data)]
    np.testing.assert_allclose(np.concatenate(rows), expected, atol=1e-9)
    found = hessians.EmpiricalFisher().diagonal(loss, data)
    np.testing.assert_allclose(flat(found), np.mean(expected**2, axis=0), atol=1e-9)


@pytest.mark.parametrize("estimator", ["gauss_newton", "empirical_fisher"])
def test_a_sample_of_weight_two_counts_twice(estimator):
    x, _ = points(4)
    y = np.arange(4) % 3
    model = softmax_network()
    arguments = {"loss": "sparse_categorical_crossentropy"}
    loss, data = made(model, x, y, np.array([2.0, 1, 0, 1]), **arguments)
    once = hessians.get(estimator).diagonal(loss, data)
    places = [0, 0, 1, 3]
    loss, data = made(model, x[places], y[places], **arguments)
    np.testing.assert_allclose(
        flat(once), flat(hessians.get(estimator).diagonal(loss, data)), rtol=1e-9
    )


def test_several_inputs_and_outputs():
    """Nested data, two losses, and metrics that stay as they were."""
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    hidden = layers.Dense(4, "tanh")(layers.Concatenate()([a, b]))
    heads = {
        "one": layers.Dense(3, "softmax", name="one")(hidden),
        "two": layers.Dense(2, name="two")(hidden),
    }
    model = keras.Model({"a": a, "b": b}, heads)
    model.compile("sgd", {"one": "sparse_categorical_crossentropy", "two": "mse"})
    generator = np.random.default_rng(0)
    x = {"a": generator.random((10, 4)), "b": generator.random((10, 3))}
    y = {"one": np.arange(10) % 3, "two": generator.random((10, 2))}
    model.fit(x, y, verbose=0)
    before = [np.array(each) for metric in model.metrics for each in metric.variables]
    data = calibration.Calibration((x, y), model, "test", labelled=True, batch_size=4)
    loss = hessians.Objective(model, model.trainable_variables, "test")
    gauss_newton = flat(hessians.GaussNewton().diagonal(loss, data))
    assert gauss_newton.shape == (model.count_params(),) and gauss_newton.min() >= 0
    exact = flat(hessians.Exact().diagonal(loss, data))
    np.testing.assert_allclose(gauss_newton[-14:], exact[-14:], atol=1e-4)  # of the heads: linear
    after = [np.array(each) for metric in model.metrics for each in metric.variables]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_too_many_outputs_for_gauss_newton():
    model = network(lambda: layers.Dense(600), dtype="float32")
    loss, data = made(model, np.zeros((2, 5), "float32"), np.zeros((2, 600), "float32"))
    with pytest.raises(ValueError, match='600 outputs.*Write "empirical_fisher"'):
        hessians.GaussNewton().diagonal(loss, data)


def test_the_estimators_change_nothing():
    """Dropout is off, batch normalisation uses what it has, and no variable moves."""
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(4, "relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(3, "softmax"),
        ]
    )
    x, _ = points()
    model.compile("sgd", "sparse_categorical_crossentropy")
    given = x.astype("float32"), np.arange(12) % 3
    data = calibration.Calibration(given, model, "test", labelled=True)
    kernels = [model.layers[0].kernel, model.layers[-1].kernel]
    loss = hessians.Objective(model, kernels, "test")
    before = [np.array(each) for each in model.variables]
    for estimator in ESTIMATORS:
        first = flat(hessians.get(estimator).diagonal(loss, data))
        again = flat(hessians.get(estimator).diagonal(loss, data))
        np.testing.assert_allclose(first, again, rtol=1e-5)
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("together", [64, 1, 3])
def test_the_recursion_is_the_inverse(together, monkeypatch):
    """One factor after another, or some at once: Hassibi's recursion against a direct inverse."""
    monkeypatch.setattr(inverse, "FACTORS_PER_UPDATE", together)
    r = np.random.default_rng(0).standard_normal((10, 2, 6))
    recursion = inverse.BlockInverses(2, 6, alpha=1e-3)
    recursion.add(r[:7])
    recursion.add(r[7:])
    for block in range(2):
        direct = 1e-3 * np.eye(6) + r[:, block].T @ r[:, block]
        np.testing.assert_allclose(recursion.inverse[block], np.linalg.inv(direct), rtol=1e-8)
        direct = 0.2 * np.eye(6) + r[:, block].T @ r[:, block] / 10
        np.testing.assert_allclose(
            recursion.compute_inverse(0.2, 10)[block], np.linalg.inv(direct), rtol=1e-8
        )


@pytest.mark.parametrize("factors", [0, 3, 9, 40])
def test_a_root_is_a_root(factors):
    r = np.random.default_rng(0).standard_normal((factors, 4))
    root = inverse.CurvatureRoot(4)
    for each in np.array_split(r, 5):
        root.add(each)
    matrix = root.matrix(samples=7)
    assert len(matrix) <= max(4, factors if factors <= 4 else 4)
    np.testing.assert_allclose(matrix.T @ matrix, r.T @ r / 7, atol=1e-12)


def test_traces_are_kept_and_let_go():
    """A second look compiles nothing; another loss, other weights or new masks do."""
    loss, data, x, y = softmax_problem()
    model = loss.model
    first = hessians.GaussNewton().diagonal(loss, data)
    (kept,) = compiled.traces(model).values()
    again = hessians.Objective(model, model.trainable_variables, "test")
    model.set_weights([2 * each for each in model.get_weights()])
    second = hessians.GaussNewton().diagonal(again, data)
    assert [*compiled.traces(model).values()] == [kept]
    assert kept.experimental_get_tracing_count() == 1
    assert not np.allclose(flat(first), flat(second))  # of the weights as they are now
    hessians.GaussNewton().diagonal(hessians.Objective(model, [model.layers[0].kernel], "t"), data)
    assert len(compiled.traces(model)) == 2
    model.compile("sgd", "mse")
    loss, data = made(model, x, np.eye(3)[y])
    hessians.GaussNewton().diagonal(loss, data)
    assert [*compiled.traces(model).values()] != [kept]
    kprune.wrap(model)
    assert not compiled.traces(model)
