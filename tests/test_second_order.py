"""OBD, OBS, Wanda, SparseGPT and least squares through `prune`: goldens, identities, failures."""

import keras
import numpy as np
import pytest
from models import compiled, mlp
from pairwise import combinations

import kprune
from kprune import criteria

layers = keras.layers
XOR = [-4.4493, 4.2589, -2.8505, 5.6474, -5.3295, -3.5529, 6.0708, 5.4748, -2.6815]


def xor():
    """Hassibi's example: 2-2-1, sigmoid, in the order w11 w12 b1 w21 w22 b2 v1 v2 c."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(2, "sigmoid"), layers.Dense(1, "sigmoid")]
    )
    w = np.array(XOR)
    model.set_weights([w[[0, 3, 1, 4]].reshape(2, 2), w[[2, 5]], w[6:8, None], w[8:]])
    model.compile("sgd", "mse")
    x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    return (
        kprune.wrap(model, include=model.trainable_variables),
        x,
        np.array([[0.1], [0.9], [0.9], [0.1]]),
    )


def in_order(model):
    """The weights of the example in its own order."""
    hidden, b, v, c = model.get_weights()
    return np.concatenate([hidden[:, 0], b[:1], hidden[:, 1], b[1:], v[:, 0], c])


@pytest.mark.parametrize(
    ("criterion", "gone", "error"),
    [
        (lambda x, y, damping: "magnitude", 8, 0.06941),
        (lambda x, y, damping: criteria.OBD((x, y)), 4, 0.08448),
        (lambda x, y, damping: criteria.OBS((x, y), "full", damping=damping), 2, 0.01043),
    ],
    ids=["magnitude", "obd", "obs"],
)
def test_xor(criterion, gone, error):
    """What each deletes first, and the error it leaves, from an independent reproduction."""
    model, x, y = xor()
    # alpha = 1e-6 beside J^T J / 4; Keras's mean squared error has twice that Hessian.
    columns = [jacobian_column(model, x, place) for place in range(9)]
    mean = np.mean([np.sum(each**2) / 4 for each in columns])
    kprune.prune(model, 1 / 9, criterion(x, y, 1e-6 / mean))
    (zero,) = np.flatnonzero(in_order(model) == 0)
    assert zero == gone
    assert np.mean((np.asarray(model(x)) - y) ** 2) / 2 == pytest.approx(error, abs=5e-6)


def jacobian_column(model, x, place):
    """The derivative of the outputs by one weight of the example, by central differences."""
    held, found = model.get_weights(), []
    for step in (1e-5, -1e-5):
        w = np.array(XOR)
        w[place] += step
        model.set_weights([w[[0, 3, 1, 4]].reshape(2, 2), w[[2, 5]], w[6:8, None], w[8:]])
        found.append(np.asarray(model(x)))
    model.set_weights(held)
    return (found[0] - found[1]) / 2e-5


def regression(samples=40, inputs=8, outputs=2, seed=0):
    """A linear model at the optimum of its loss, whose Hessian is that of least squares."""
    generator = np.random.default_rng(seed)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    x = generator.standard_normal((samples, inputs)) @ generator.standard_normal((inputs, inputs))
    y = generator.standard_normal((samples, outputs))
    model = keras.Sequential([keras.Input((inputs,)), layers.Dense(outputs, use_bias=False)])
    model.layers[0].kernel.assign(np.linalg.lstsq(x, y, rcond=None)[0])
    model.compile("sgd", "mse")
    return kprune.wrap(model), x, y


def surgeon(hessian, x, y, **arguments):
    arguments = {"damping": 1e-9, **arguments}
    given = x if hessian == "layerwise" else (x, y)
    return criteria.OBS(given, hessian, **arguments)


@pytest.mark.parametrize("hessian", ["layerwise", "full", "block"])
def test_obs_of_a_linear_model(hessian):
    """One deletion: the cheapest of all pairs by brute force, and the least squares without it."""
    model, x, y = regression()
    w = np.array(model.layers[0].kernel)
    increase = np.empty(w.shape)
    after = {}
    for row, column in np.ndindex(*w.shape):
        others = np.delete(x, row, axis=1)
        solved = np.linalg.lstsq(others, y[:, column], rcond=None)[0]
        after[row, column] = np.insert(solved, row, 0.0)
        lost = np.sum((x @ after[row, column] - y[:, column]) ** 2)
        increase[row, column] = lost - np.sum((x @ w[:, column] - y[:, column]) ** 2)
    place = np.unravel_index(increase.argmin(), w.shape)
    kprune.prune(model, 1 / w.size, surgeon(hessian, x, y, block_size=8))
    found = np.array(model.layers[0].kernel)
    expected = w.copy()
    expected[:, place[1]] = after[place]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (np.argwhere(found == 0) == [place]).all()


@pytest.mark.parametrize("hessian", ["full", "block"])
@pytest.mark.parametrize("fisher", ["gauss_newton", "empirical_fisher"])
def test_survivors_are_those_of_the_set_form(hessian, fisher):
    """Half of all weights at once: d = -H^-1_SQ (H^-1_QQ)^-1 w_Q, H from plain outer products."""
    model, x, y = regression(outputs=1)
    w = np.array(model.layers[0].kernel)[:, 0] + 0.1
    model.layers[0].kernel.assign(w[:, None])
    rows = np.sqrt(2) * x if fisher == "gauss_newton" else 2 * (x @ w - y[:, 0])[:, None] * x
    curved = rows.T @ rows / len(x)
    size = 3 if hessian == "block" else 8
    blocks = np.zeros((8, 8), bool)
    for start in range(0, 8, size):
        blocks[start : start + size, start : start + size] = True
    matrix = np.where(blocks, curved, 0) + 0.1 * np.mean(np.diag(curved)) * np.eye(8)
    inverse = np.linalg.inv(matrix)
    kprune.prune(model, 0.5, surgeon(hessian, x, y, fisher=fisher, damping=0.1, block_size=size))
    found = np.array(model.layers[0].kernel)[:, 0]
    score = w**2 / (2 * np.diag(inverse))
    gone = np.sort(np.argsort(score)[:4])
    np.testing.assert_array_equal(np.flatnonzero(found == 0), gone)
    moved = w - inverse[:, gone] @ np.linalg.solve(inverse[np.ix_(gone, gone)], w[gone])
    np.testing.assert_allclose(found, np.where(np.isin(np.arange(8), gone), 0, moved), atol=1e-6)


@pytest.mark.parametrize("hessian", ["layerwise", "full", "block"])
def test_what_has_gone_takes_no_part(hessian):
    """Pruning in two calls ends at the least squares of the second mask."""
    model, x, y = regression(outputs=1)
    for sparsity in (0.25, 0.5):
        kprune.prune(model, sparsity, surgeon(hessian, x, y, block_size=8))
    found = np.array(model.layers[0].kernel)[:, 0]
    here = np.flatnonzero(found)
    assert here.size == 4
    expected = np.linalg.lstsq(x[:, here], y[:, 0], rcond=None)[0]
    np.testing.assert_allclose(found[here], expected, atol=1e-5)


def test_obd_in_closed_form():
    model, x, y = regression()
    w = np.array(model.layers[0].kernel)
    h = np.mean(x**2, axis=0)[:, None] * np.ones(2)
    kprune.prune(model, 0.5, criteria.OBD((x, y), "exact"))
    expected = h * w**2
    np.testing.assert_array_equal(
        np.array(model.layers[0].kernel), w * (expected > np.sort(expected, axis=None)[7])
    )


@pytest.mark.parametrize("per_output", [True, False])
def test_wanda_in_closed_form(per_output):
    """|w| ||x||, the lowest of each column or of all; survivors stay."""
    model, x, _ = regression()
    w = np.array(model.layers[0].kernel)
    score = np.abs(w) * np.linalg.norm(x, axis=0)[:, None]
    limit = np.sort(score, axis=0)[3] if per_output else np.sort(score, axis=None)[7]
    kprune.prune(model, 0.5, criteria.Wanda(x, per_output=per_output))
    np.testing.assert_array_equal(np.array(model.layers[0].kernel), w * (score > limit))


def test_sparse_gpt_prunes_the_layer_as_the_sweep_does():
    """To the sparsity that is asked: mask and values of the published loop, column by column."""
    model, x, _ = regression()
    w = np.array(model.layers[0].kernel)
    hessian = 2 * x.T @ x / len(x)
    hessian += 0.01 * np.mean(np.diag(hessian)) * np.eye(8)
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    expected = w.copy()
    gone = (w / np.diag(upper)[:, None]) ** 2
    gone = gone <= np.sort(gone, axis=None)[7]  # eight rows are one slab
    for i in range(8):
        error = np.where(gone[i], expected[i], 0) / upper[i, i]
        expected[i:] -= upper[i, i:, None] * error
        expected[i][gone[i]] = 0
    kprune.prune(model, 0.5, criteria.SparseGPT(x, damping=0.01))
    np.testing.assert_allclose(np.array(model.layers[0].kernel), expected, atol=1e-9)


@pytest.mark.parametrize("criterion", ["magnitude", "wanda", "sparse_gpt"])
def test_least_squares_refits_any_mask(criterion):
    model, x, y = regression()
    w = np.array(model.layers[0].kernel)
    made = {"wanda": criteria.Wanda(x, damping=0), "sparse_gpt": criteria.SparseGPT(x, damping=0)}
    refit = (
        kprune.refits.LeastSquares(x, damping=0) if criterion == "magnitude" else "least_squares"
    )
    kprune.prune(model, 0.5, made.get(criterion, criterion), refit=refit)
    found = np.array(model.layers[0].kernel)
    for column in range(2):
        here = np.flatnonzero(found[:, column])
        solved = np.linalg.lstsq(x[:, here], x @ w[:, column], rcond=None)[0]
        np.testing.assert_allclose(found[here, column], solved, atol=1e-8)


def test_recomputations_take_the_same_part_of_the_survivors():
    stages = list(criteria.OBS(None, recomputations=3).stages(0.2, 0.9))
    kept = 1 - np.array([0.2, *stages])
    np.testing.assert_allclose(kept[1:] / kept[:-1], (0.1 / 0.8) ** (1 / 3))
    assert stages[-1] == 0.9 and list(criteria.Wanda().stages(0.2, 0.9)) == [0.9]


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("allocation", ["class_blind", "class_uniform"])
def test_sequential_layers_keep_the_dense_outputs(allocation, refit, data):
    """The second layer, on what the pruned first one gives, aims at what it gave before."""
    model = kprune.wrap(mlp())
    kernels = [np.array(layer.kernel, np.float64) for layer in model.layers]
    x, settings = data[0], {"sequential": True, "damping": 0.01}
    hidden = np.asarray(model.layers[0](x), np.float64)
    if refit:
        kprune.prune(model, 0.5, "magnitude", allocation, kprune.refits.LeastSquares(x, **settings))
    else:
        kprune.prune(model, 0.5, criteria.OBS(x, **settings), allocation)
    found = [np.array(layer.kernel) for layer in model.layers]
    now = [x.astype(np.float64), np.asarray(model.layers[0](x), np.float64)]
    for kernel, before, given, earlier in zip(found, kernels, now, [now[0], hidden], strict=True):
        hessian, cross = (2 * given.T @ each / len(x) for each in (given, earlier))
        alpha = 0.01 * np.mean(np.diag(hessian)) * np.eye(len(hessian))
        for column in range(kernel.shape[1]):
            s = kernel[:, column] != 0
            wanted = ((cross + alpha) @ before[:, column])[s]
            expected = np.linalg.solve((hessian + alpha)[np.ix_(s, s)], wanted)
            np.testing.assert_allclose(kernel[s, column], expected, rtol=1e-3, atol=1e-4)
    assert sum((kernel == 0).sum() for kernel in found) == 128


def test_costs_of_layers_are_parts_of_their_outputs(data):
    """Layers whose outputs are on other scales give the same, in one cut of all."""
    masks = []
    for scale in (1.0, 1000.0):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((12,))
        heads = [layers.Dense(8, use_bias=False, name=name)(inputs) for name in "ab"]
        model = keras.Model(inputs, heads)
        model.get_layer("b").kernel.assign(scale * np.array(model.get_layer("b").kernel))
        kprune.prune(model, 0.5, criteria.OBS(data[0], damping=0.01))
        masks.append([np.array(model.get_layer(name).kernel) != 0 for name in "ab"])
    for one, other in zip(*masks, strict=True):
        np.testing.assert_array_equal(one, other)


SECOND_ORDER = {
    "obd": criteria.OBD,
    "saliency": criteria.Saliency,
    "obs": criteria.OBS,
    "obs full": lambda data, **kwargs: criteria.OBS(data, "full", **kwargs),
    "obs block": lambda data, **kwargs: criteria.OBS(data, "block", **kwargs),
    "wanda": criteria.Wanda,
    "sparse_gpt": criteria.SparseGPT,
}
LABELLED = {"obd", "saliency", "obs full", "obs block"}


def images(samples=8, size=12):
    return np.ones((samples, size), "float32")


WRONG = {
    "none": (None, "has no data; expected batches"),
    "empty": ([], "is empty"),
    "generator": (iter([1]), "can be read once only"),
    "shape": ((images(size=7), np.zeros(8)), r"inputs of shape \(8, 7\); expected \(None, 12\)"),
    "lengths": ((images(), np.zeros(5)), r"lengths \[5, 8\]; expected one length"),
    "nan": ((images() * np.nan, np.zeros(8)), "NaN or infinity among samples 0 to 7"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("criterion", SECOND_ORDER)
def test_wrong_data_changes_nothing(criterion, wrong):
    given, message = WRONG[wrong]
    check_failure(SECOND_ORDER[criterion](given), message)


@pytest.mark.parametrize("criterion", sorted(LABELLED))
def test_labels_are_needed(criterion):
    check_failure(SECOND_ORDER[criterion](images()), r"has no labels; expected batches \(x, y\)")
    labels = np.zeros((8, 3))  # four classes, one number each
    check_failure(SECOND_ORDER[criterion]((images(), labels)), "labels of shape")


def check_failure(criterion, message):
    model = kprune.wrap(mlp())
    before = [np.array(each) for each in model.get_weights()]
    with pytest.raises((ValueError, TypeError), match=message):
        kprune.prune(model, 0.5, criterion)
    assert kprune.report(model).sparsity == 0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_infinite_data_says_what_to_write():
    import tensorflow as tf

    endless = tf.data.Dataset.from_tensors((images(), np.zeros(8))).repeat()
    check_failure(criteria.OBS(endless), r"has no end.*data.take\(16\)")


def test_a_failure_after_the_first_part_changes_nothing(data):
    """The third look at the data fails: what the first two parts wrote is undone."""

    class Failing(keras.utils.PyDataset):
        looks = 0

        def __len__(self):
            return 1

        def __getitem__(self, index):
            Failing.looks += 1
            return data if Failing.looks < 3 else (data[0] * np.nan, data[1])

    check_failure(criteria.Wanda(Failing(), recomputations=4), "NaN")
    assert Failing.looks == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: criteria.OBS(None, "diagonal"), 'Write hessian="layerwise"'),
        (lambda: criteria.OBS(None, damping="small"), "Write damping=0.01"),
        (lambda: criteria.OBS(None, damping=-1), "Write damping=0.01"),
        (lambda: criteria.OBS(None, "full", sequential=True), "Write sequential=False"),
        (lambda: criteria.OBS(None, block_size=0), "Write block_size=64"),
        (lambda: criteria.Wanda(None, recomputations=0), "Write recomputations=1"),
        (lambda: criteria.OBD(None, "exakt"), "Write estimator='exact'"),
        (lambda: kprune.refits.get("least_square"), "Write refit='least_squares'"),
    ],
)
def test_wrong_arguments_say_what_to_write(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_least_squares_without_data_says_what_to_write():
    model = kprune.wrap(mlp())
    with pytest.raises(ValueError, match=r"Write LeastSquares\(x\)"):
        kprune.prune(model, 0.5, "magnitude", refit="least_squares")


@pytest.mark.parametrize("criterion", sorted(LABELLED))
def test_a_loss_is_needed(criterion, data):
    plain = keras.Sequential.from_config(mlp().get_config())
    with pytest.raises(ValueError, match="expected a compiled model"):
        kprune.prune(kprune.wrap(plain), 0.5, SECOND_ORDER[criterion](data))


@pytest.mark.parametrize(
    ("case", "criterion", "damping"),
    combinations(
        ["few", "dead", "repeated"],
        ["obs", "obs full", "obs block", "sparse_gpt"],
        ["auto", 0.0, 0.01],
    ),
)
def test_poor_data_gives_finite_weights_or_a_message(case, criterion, damping, data):
    """Fewer samples than inputs, inputs that are always zero, samples all alike."""
    x, y = (each.copy() for each in data)
    if case == "few":
        x, y = x[:2], y[:2]
    elif case == "dead":
        x[:, :6] = 0
    else:
        x[:] = x[0]
    model = kprune.wrap(mlp())
    made = SECOND_ORDER[criterion]((x, y), damping=damping)
    try:
        report = kprune.prune(model, 0.5, made)
    except ValueError as error:
        assert damping == 0.0 and "damping=0.01" in str(error)
        report = kprune.report(model)
        assert report.sparsity == 0
    else:
        assert report.sparsity == 0.5
    assert all(np.isfinite(each).all() for each in model.get_weights())


def test_dead_inputs_go_first(data):
    x = data[0].copy()
    x[:, 3] = 0
    model = kprune.wrap(mlp(), include="hidden")
    kprune.prune(model, 1 / 12, criteria.OBS(x))
    kernel = np.array(model.get_layer("hidden").kernel)
    np.testing.assert_array_equal(np.flatnonzero((kernel == 0).all(axis=1)), [3])
    assert np.count_nonzero(kernel == 0) == kernel.shape[1]


@pytest.mark.parametrize("criterion", ["obs", "obs full", "obs block", "sparse_gpt"])
def test_automatic_damping_is_no_worse_than_a_wrong_one(criterion):
    """Of forty samples and sixty inputs: on fresh data, against dampings too small and large."""
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((20, 60))
    x, fresh = (generator.standard_normal((n, 20)) @ mixing for n in (40, 400))
    x, fresh = (
        (each + 0.3 * generator.standard_normal(each.shape)).astype("float32")
        for each in (x, fresh)
    )
    kernel = generator.standard_normal((60, 4)).astype("float32")
    losses = {}
    for damping in ("auto", 1e-5, 1e3):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((60,)), layers.Dense(4, use_bias=False)])
        model.layers[0].kernel.assign(kernel)
        model.compile("sgd", "mse")
        kprune.wrap(model)
        noise = generator.standard_normal((40, 4))
        kprune.prune(model, 0.6, SECOND_ORDER[criterion]((x, x @ kernel + noise), damping=damping))
        losses[damping] = float(np.mean((np.asarray(model(fresh)) - fresh @ kernel) ** 2))
    assert losses["auto"] <= 1.25 * min(losses.values())
    assert losses["auto"] <= 0.5 * max(losses.values())


def test_embeddings_are_cut_by_how_often_they_are_looked_up():
    words = keras.Input((4,), dtype="int32")
    x = layers.Flatten()(layers.Embedding(6, 3)(words))
    model = compiled(keras.Model(words, layers.Dense(2, "softmax")(x)))
    x = np.random.default_rng(0).integers(0, 4, (30, 4))  # words 4 and 5 never come
    kprune.wrap(model, include="embedding")
    for criterion in (criteria.OBS(x), criteria.SparseGPT(x), criteria.Wanda(x, per_output=False)):
        kprune.prune(model, 6 / 18, criterion)
        table = np.array(model.layers[1].embeddings)
        np.testing.assert_array_equal(np.flatnonzero((table == 0).all(axis=1)), [4, 5])
        kprune.strip(model)
        model.layers[1].embeddings.assign(np.random.default_rng(1).standard_normal((6, 3)))
        kprune.wrap(model, include="embedding")


@pytest.mark.slow
def test_pruning_a_real_task_keeps_what_magnitude_loses():
    """One shot at 80 % on handwritten digits: the order of the methods is that of their papers."""
    from sklearn import datasets

    x, y = datasets.load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    train, test = (x[:1400], y[:1400]), (x[1400:], y[1400:])
    model = keras.Sequential(
        [keras.Input((64,)), layers.Dense(64, "relu"), layers.Dense(10, "softmax")]
    )
    compiled(model)
    model.fit(*train, epochs=12, verbose=0)
    dense = model.evaluate(*test, verbose=0)[1]
    held, accuracy = model.get_weights(), {}
    for name, criterion in {
        "random": "random",
        "magnitude": "magnitude",
        "obs": criteria.OBS(train[0]),
        "full": criteria.OBS(tuple(each[:400] for each in train), "full", recomputations=3),
    }.items():
        kprune.prune(model, 0.8, criterion)
        accuracy[name] = model.evaluate(*test, verbose=0)[1]
        kprune.strip(model)
        model.set_weights(held)
    assert accuracy["random"] < accuracy["magnitude"] < accuracy["obs"]
    assert accuracy["obs"] > dense - 0.06 and accuracy["full"] > dense - 0.06
