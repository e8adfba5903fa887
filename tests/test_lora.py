"""LoRA on a pruned model: what is computed and what is saved stays sparse."""

import copy

import keras
import numpy as np
import pairwise
import pytest

import kprune

layers = keras.layers


KINDS = ["dense", "einsum", "convolution", "embedding"]
FIRST = ["wrap", "lora"]


def network(kind):
    if kind == "dense":
        return keras.Sequential([keras.Input((8,)), layers.Dense(6, "relu"), layers.Dense(4)])
    if kind == "einsum":
        einsum = layers.EinsumDense("abc,cd->abd", (5, 6), bias_axes="d")
        return keras.Sequential([keras.Input((5, 8)), einsum, layers.Flatten(), layers.Dense(4)])
    if kind == "convolution":
        body = [layers.Conv2D(6, 3), layers.GlobalAveragePooling2D(), layers.Dense(4)]
        return keras.Sequential([keras.Input((6, 6, 2)), *body])
    words = keras.Input((5,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(20, 6)(words))
    return keras.Model(words, layers.Dense(4)(x))


def data(model):
    generator = np.random.default_rng(0)
    shape = (64, *model.input_shape[1:])
    is_integer = "int" in model.inputs[0].dtype
    x = generator.integers(0, 20, shape) if is_integer else generator.normal(size=shape)
    return x.astype("int32" if is_integer else "float32"), generator.integers(0, 4, 64)


def compiled(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss)
    return model


def adapted(model):
    """The layer with the first kernel, and the sum that it computes with."""
    layer = kprune.masked_weights(model)[0].location.layer
    name = "embeddings" if isinstance(layer, layers.Embedding) else "kernel"
    return layer, name


def enable(model):
    layer = next(each for each in model.layers if each.weights)
    layer.enable_lora(2)
    return compiled(model)


@pytest.mark.parametrize(
    ("kind", "first"), pairwise.quick_or_slow(pairwise.each_once(KINDS, FIRST), KINDS, FIRST)
)
def test_what_is_computed_and_saved_is_sparse(kind, first, tmp_path):
    model = network(kind)
    if first == "lora":
        enable(model)
        kprune.prune(model, 0.6)
    else:
        kprune.prune(model, 0.6)
        enable(model)
    x, y = data(model)
    weight = kprune.masked_weights(model)[0]
    start = weight.values().copy()
    model.fit(x, y, epochs=3, verbose=0)
    layer, name = adapted(model)
    first_matrix, second = (np.asarray(getattr(layer, f"lora_{name}_{ab}")) for ab in "ab")
    assert np.abs(second).max() > 1e-3  # it has learned
    # What the layer stands for, computed beside it.
    total = np.where(weight.alive(), start + first_matrix @ second, 0)
    reference = network(kind)
    reference.set_weights(
        [
            total if v is weight.variable else np.asarray(v)
            for v in model.weights
            if "lora" not in v.name
        ]
    )
    expected = reference.predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)
    model.save(tmp_path / "wrapped.keras")
    kept = copy.deepcopy(model)
    with kprune.stripped(model) as plain:
        plain.save(tmp_path / "stripped.keras")
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)
    np.testing.assert_allclose(kept.predict(x, verbose=0), expected, atol=1e-5)
    model = kprune.strip(model)
    model.save(tmp_path / "after.keras")
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)
    for file in ("wrapped", "stripped", "after"):
        loaded = keras.saving.load_model(tmp_path / f"{file}.keras")
        np.testing.assert_allclose(loaded.predict(x, verbose=0), expected, atol=1e-5)
        found = kprune.report(loaded)
        assert abs(found.pruned[0].sparsity - np.mean(total == 0)) < 1e-9
    assert not {"call", "save_own_variables", "enable_lora"} & set(vars(layer))


def test_pruned_weights_teach_the_product_nothing():
    """The gradient of the second matrix is that of the masked sum."""
    model = network("dense")
    kprune.prune(model, 0.5)
    enable(model)
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x, _ = data(model)
    y = np.zeros((64, 4), "float32")
    layer = model.layers[0]
    weight = kprune.masked_weights(model)[0]
    a, kernel = np.asarray(layer.lora_kernel_a), weight.values().copy()
    hidden = x @ kernel
    head = np.asarray(model.layers[1].kernel)
    out = np.maximum(hidden, 0) @ head
    slope = ((2 * out / out.size) @ head.T) * (hidden > 0)
    expected = -0.5 * a.T @ ((x.T @ slope) * weight.alive())
    model.train_on_batch(x, y)
    np.testing.assert_allclose(np.asarray(layer.lora_kernel_b), expected, atol=1e-5)


def test_the_backbone_of_kerashub(tmp_path):
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=40,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=8,
    )
    kprune.prune(backbone, 0.7)
    backbone.enable_lora(2)
    x = {
        "token_ids": np.random.default_rng(0).integers(0, 40, (8, 8)),
        "segment_ids": np.zeros((8, 8), "int32"),
        "padding_mask": np.ones((8, 8), "int32"),
    }
    y = {"sequence_output": np.ones((8, 8, 8)), "pooled_output": np.ones((8, 8))}
    backbone.compile(keras.optimizers.SGD(0.1), "mse")
    backbone.fit(x, y, epochs=2, verbose=0)
    expected = backbone.predict(x, verbose=0)["pooled_output"]
    backbone.save(tmp_path / "backbone.keras")
    loaded = keras.saving.load_model(tmp_path / "backbone.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0)["pooled_output"], expected, atol=1e-5)
    assert abs(kprune.report(loaded).sparsity - 0.7) < 1e-3
