"""Criteria: each with every allocation and every pattern, and the formulas in closed form."""

import keras
import numpy as np
import pytest
from models import mlp
from pairwise import combinations

import kprune
from kprune import allocations, criteria, patterns
from kprune._masking import masked_weights, slot_variables

FEW = slice(24)  # samples: the contracts are of counts and masks, not of accuracy
CRITERIA = {
    "magnitude": lambda data: "magnitude",
    "random": lambda data: criteria.Random(1),
    "saliency": lambda data: criteria.Saliency(data),
    "movement": lambda data: criteria.Movement(),
    "obd": lambda data: criteria.OBD(data, "empirical_fisher"),
    "obs layerwise": lambda data: criteria.OBS(data[0]),
    "obs full": lambda data: criteria.OBS(data, "full", damping=0.1),
    "obs block": lambda data: criteria.OBS(data, "block", damping=0.1, block_size=16),
    "wanda": lambda data: criteria.Wanda(data[0]),
    "sparse_gpt": lambda data: criteria.SparseGPT(data[0]),
}
PATTERNS = ["unstructured", "2:4", "tflite_float32", "channel"]


@pytest.mark.parametrize(
    ("criterion", "allocation", "pattern"), combinations(CRITERIA, allocations.MEMBERS, PATTERNS)
)
def test_every_pair_of_choices(criterion, allocation, pattern, data):
    """One-shot in two stages: exact, monotone, and zeros exactly where the masks say."""
    model = kprune.wrap(mlp(), pattern=pattern)
    made = criteria.get(CRITERIA[criterion](tuple(each[FEW] for each in data)))
    if made.accumulation is not None:  # as after a training
        for slot in slot_variables.of(model, made.accumulation.slot).weights:
            slot.assign(np.random.default_rng(0).standard_normal(slot.shape))
    size = 12 * 16 + 16 * 4
    before = None
    for sparsity in (0.25, 0.5):
        report = kprune.prune(model, sparsity, made, allocation)
        piece = {"tflite_float32": 4, "channel": 16}.get(pattern, 1)
        slack = piece / 2 * (1 if "class_blind" in allocation else 2)  # each cut may err by half
        assert abs((size - report.kept) - round(sparsity * size)) <= slack
        members = masked_weights.require(model)
        for weight in members:
            np.testing.assert_array_equal(weight.values() != 0, weight.alive())
        alive = [weight.alive().copy() for weight in members]
        if before is not None:
            assert not any((new & ~old).any() for new, old in zip(alive, before, strict=True))
        before = alive


def test_random_depends_on_seed_and_place_alone():
    masks = []
    for seed in (0, 0, 1):
        model = kprune.wrap(mlp())
        kprune.prune(model, 0.5, criteria.Random(seed))
        masks.append(np.concatenate([w.alive().reshape(-1) for w in masked_weights.require(model)]))
    assert (masks[0] == masks[1]).all() and (masks[0] != masks[2]).any()
    sparsity = [1 - mask.mean() for mask in np.split(masks[0], [192])]
    assert abs(sparsity[0] - sparsity[1]) < 0.25  # no class is preferred


def linear(x, y, sample_weight=None):
    """A linear model whose gradient has a closed form: L = mean (w.x - y)^2."""
    model = keras.Sequential([keras.Input((x.shape[1],)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("weighted", [False, True])
def test_saliency_in_closed_form(weighted):
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((50, 6)), generator.standard_normal((50, 1))
    sample_weight = generator.random(50) if weighted else np.ones(50)
    model = linear(x, y)
    w = model.layers[0].kernel.numpy().astype(float)
    gradient = 2 * x.T @ (sample_weight[:, None] * (x @ w - y)) / 50
    given = (x, y, sample_weight) if weighted else (x, y)
    kprune.wrap(model)
    members = masked_weights.require(model)
    for batch_size in (50, 16):  # batches of different sizes average by their samples
        saliency = criteria.Saliency(given, batch_size=batch_size)
        evidence = saliency.observe(model, members, criteria.Stage(0.5))
        score = saliency.score(members[0], evidence)
        np.testing.assert_allclose(score, np.abs(w * gradient), rtol=1e-4)


def test_saliency_of_embeddings_and_batches():
    """Sparse gradients count densely; a data set is read as it comes."""
    words = keras.Input((3,), dtype="int32")
    x = keras.layers.Flatten()(keras.layers.Embedding(5, 2)(words))
    model = keras.Model(words, keras.layers.Dense(1)(x))
    model.compile("sgd", "mse")
    kprune.wrap(model)
    batches = [(np.array([[0, 1, 1], [0, 0, 1]]), np.ones((2, 1)))]
    evidence = criteria.Saliency(batches).observe(
        model, masked_weights.require(model), criteria.Stage(0.5)
    )
    embedding = next(iter(evidence.values()))
    assert (embedding[:2] != 0).all() and (embedding[2:] == 0).all()


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_along_a_schedule(criterion, data):
    """In `fit`, on a model with dropout and batch normalisation whose state must not change."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(16, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    kprune.wrap(model)
    schedule = kprune.schedules.PolynomialDecay(0.0, 0.75, 0.0, 0.5, frequency=2)
    pruning = kprune.callbacks.Pruning(schedule, CRITERIA[criterion](data), "class_uniform")
    model.fit(*data, batch_size=16, epochs=4, verbose=0, callbacks=[pruning])
    assert kprune.report(model).classes == {"sequential/dense": 0.75, "sequential/dense_1": 0.75}
    before = [np.array(each) for each in model.get_weights()]
    if criterion not in ("magnitude", "random"):
        CRITERIA[criterion](data).observe(model, masked_weights.require(model), criteria.Stage(0.5))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "has no data"),
        ([np.zeros((2, 12), "float32")], "has no labels"),
        ([], "is empty"),
    ],
)
def test_saliency_without_data_changes_nothing(data, message):
    model = kprune.wrap(mlp())
    before = [np.array(each) for each in model.get_weights()]
    with pytest.raises(ValueError, match=message):
        kprune.prune(model, 0.5, criteria.Saliency(data))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert kprune.report(model).sparsity == 0


def test_a_criterion_of_ones_own_with_compensation():
    """The hooks that second-order criteria need, with no change to `prune`."""
    import dataclasses

    seen = []

    @dataclasses.dataclass(frozen=True)
    class Doubling(criteria.Criterion):
        """Prunes in two stages, and doubles what survives."""

        def observe(self, model, members, stage):
            seen.append("observe")
            return {id(weight): float(np.abs(weight.values()).max()) for weight in members}

        def stages(self, present, sparsity):
            return ((present + sparsity) / 2, sparsity)

        def score(self, weight, evidence):
            return np.abs(weight.values()) / evidence[id(weight)]

        def compensate(self, members, keep, evidence):
            seen.append("compensate")
            return {w: w.values() * 2 * keep[i] for i, w in enumerate(members)}

    model = kprune.wrap(mlp(), pattern=patterns.Unstructured())
    before = [weight.values().copy() for weight in masked_weights.require(model)]
    report = kprune.prune(model, 0.5, Doubling())
    assert seen == ["observe", "compensate"] * 2 and report.sparsity == 0.5
    for old, weight in zip(before, masked_weights.require(model), strict=True):
        np.testing.assert_allclose(weight.values(), old * 4 * weight.alive(), rtol=1e-6)
