"""KerasHub models end to end: wrapped, pruned in fit from raw inputs, saved, resumed, exported."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kprune
from kprune._masking import masked_weights

# A loaded task has a new optimizer, and the pooled layer of a masked language model no reader.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`compile..` was not called:UserWarning"),
    pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning"),
    pytest.mark.filterwarnings("ignore:A total of 1 objects could not be loaded:UserWarning"),
    pytest.mark.filterwarnings("ignore:Gradients do not exist.*pooled_dense:UserWarning"),
]

hub = keras_hub.models
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["the", "film", "plot", "was", "is", "good", "bad", "very", "not", "a"]
TEXTS = np.array(["the film was good", "the plot is bad", "a very good film", "not good"] * 4)
LABELS = np.array([1, 0, 1, 0] * 4)


def backbone(num_layers=2):
    return hub.BertBackbone(
        vocabulary_size=len(WORDS),
        num_layers=num_layers,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=8,
    )


def tokenizer():
    return hub.BertTokenizer(vocabulary=WORDS, lowercase=True)


def classifier():
    preprocessor = hub.BertTextClassifierPreprocessor(tokenizer(), sequence_length=8)
    return hub.BertTextClassifier(backbone(), num_classes=2, preprocessor=preprocessor)


def fit(model, x, y=None, sparsity=0.6):
    schedule = kprune.schedules.Constant(sparsity, begin_step=1)
    pruning = kprune.callbacks.Pruning(schedule)
    model.fit(x=x, y=y, batch_size=4, verbose=0, shuffle=False, callbacks=[pruning])
    for weight in masked_weights.require(model):
        np.testing.assert_array_equal(weight.values() != 0, weight.alive())
    assert kprune.report(model).sparsity == pytest.approx(sparsity, abs=1e-3)


@pytest.mark.slow
def test_a_classifier_from_text_to_phone(tmp_path):
    model = classifier()
    dense = model.predict(TEXTS, verbose=0)
    kprune.wrap(model, exclude="embeddings")
    np.testing.assert_array_equal(dense, model.predict(TEXTS, verbose=0))
    fit(model, TEXTS, LABELS)
    assert not any("embedding" in each.path for each in masked_weights.require(model))

    model.save_weights(tmp_path / "stopped.weights.h5")
    resumed = kprune.wrap(classifier(), exclude="embeddings")
    resumed.optimizer.build(resumed.trainable_variables)
    resumed.load_weights(tmp_path / "stopped.weights.h5")
    for each in (model, resumed):  # its dropout draws the same where the seeds are
        keras.utils.set_random_seed(1)
        each.fit(TEXTS[:4], LABELS[:4], shuffle=False, verbose=0)
    for one, other in zip(model.trainable_weights, resumed.trainable_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)
    for one, other in zip(
        masked_weights.require(model), masked_weights.require(resumed), strict=True
    ):
        np.testing.assert_array_equal(one.alive(), other.alive())

    kprune.strip(model)
    after = model.predict(TEXTS, verbose=0)
    model.save(tmp_path / "plain.keras")
    loaded = keras.saving.load_model(tmp_path / "plain.keras", compile=False)
    assert type(loaded) is hub.BertTextClassifier
    np.testing.assert_allclose(loaded.predict(TEXTS, verbose=0), after, atol=1e-6)

    kprune.export.to_saved_model(model, tmp_path / "served")
    inputs = {name: tf.cast(x, "int32") for name, x in model.preprocessor(TEXTS[:3]).items()}
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(inputs), after[:3], atol=1e-5)
    report = kprune.export.to_tflite(model, tmp_path / "phone.tflite")
    assert any(each.sparsity > 0.5 for each in report.tensors)


def test_a_tied_embedding_has_one_mask():
    """A masked language model reads its token embedding at the input and at the output."""
    preprocessor = hub.BertMaskedLMPreprocessor(
        tokenizer(), sequence_length=8, mask_selection_length=3
    )
    model = kprune.wrap(hub.BertMaskedLM(backbone(1), preprocessor=preprocessor))
    loss = keras.losses.SparseCategoricalCrossentropy(True)
    model.compile("adam", loss, run_eagerly=True)
    embedding = model.backbone.token_embedding
    tied = [each for each in masked_weights.require(model) if each.variable is embedding.embeddings]
    assert len(tied) == 1 and len({each.path for each in masked_weights.require(model)}) == 11
    fit(model, TEXTS)
    alive = tied[0].alive()
    rows = embedding(np.arange(len(WORDS)))
    np.testing.assert_array_equal(rows.numpy() != 0, alive)
    columns = embedding(np.eye(16, dtype="float32"), reverse=True)  # (hidden, vocabulary)
    np.testing.assert_array_equal(columns.numpy() != 0, alive.T)


def test_a_causal_model_generates_while_wrapped():
    symbols = ["!", "a", "b", "Ġ", "Ġa", "Ġb", "ab", "<|endoftext|>"]
    bytes_of = hub.GPT2Tokenizer(
        vocabulary={each: place for place, each in enumerate(symbols)},
        merges=["a b", "Ġ a", "Ġ b"],
    )
    model = hub.GPT2CausalLM(
        hub.GPT2Backbone(
            vocabulary_size=len(symbols),
            num_layers=1,
            num_heads=2,
            hidden_dim=16,
            intermediate_dim=32,
            max_sequence_length=12,
        ),
        preprocessor=hub.GPT2CausalLMPreprocessor(bytes_of, sequence_length=10),
    )
    loss = keras.losses.SparseCategoricalCrossentropy(True)
    model.compile("adam", loss, sampler="greedy", run_eagerly=True)
    dense = model.generate("ab a b", max_length=8)
    kprune.wrap(model)
    assert model.generate("ab a b", max_length=8) == dense
    fit(model, ["ab a b a b", "a b ab ab"] * 4, sparsity=0.5)
    # The next symbol is the likeliest of a full forward pass, masks and all.
    prompt = bytes_of("ab a b")
    text = model.generate("ab a b", max_length=len(prompt) + 2)
    inputs, _, _ = model.preprocessor(["ab a b"], sequence_length=10)
    logits = model(inputs)[0]
    place = len(prompt)  # after the start symbol
    expected = bytes_of.detokenize([int(np.argmax(logits[place]))])
    assert text == "ab a b" + expected


@pytest.mark.parametrize("kind", [pytest.param("vit", marks=pytest.mark.slow), "resnet"])
def test_an_image_classifier(kind, tmp_path):
    if kind == "vit":
        body = hub.ViTBackbone(
            image_shape=(8, 8, 3),
            patch_size=4,
            num_layers=1,
            num_heads=2,
            hidden_dim=16,
            mlp_dim=32,
        )
        model = hub.ViTImageClassifier(body, num_classes=3)
    else:
        body = hub.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[3],
            stackwise_num_filters=[64],
            stackwise_num_blocks=[1],
            stackwise_num_strides=[1],
            block_type="basic_block",
            image_shape=(8, 8, 3),
        )
        model = hub.ResNetImageClassifier(body, num_classes=3)
    images = np.random.default_rng(0).standard_normal((8, 8, 8, 3)).astype("float32")
    kprune.wrap(model)
    fit(model, images, np.arange(8) % 3)
    kprune.strip(model)
    model.save(tmp_path / "plain.keras")
    loaded = keras.saving.load_model(tmp_path / "plain.keras", compile=False)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), model.predict(images, verbose=0))
    kprune.export.to_saved_model(model, tmp_path / "served")


def test_iterative_magnitude_pruning_of_transformers():
    """Cheong and Daniel: X % of each layer, then (Y - X) / 9 more every 1001 updates."""
    model = kprune.wrap(classifier(), exclude="embeddings", classes="weight")
    schedule = kprune.schedules.Iterative(0.3, 0.9, frequency=1001, begin_step=0)
    seen = []
    for step in range(0, 10_001, 7):
        if kprune.step(model, schedule, step, allocation="class_uniform"):
            seen.append(step)
            rises = min(9, step // 1001)
            expected = 0.3 + rises * (0.9 - 0.3) / 9
            for weight in masked_weights.require(model):
                zeros = weight.size - weight.kept()
                assert abs(zeros - expected * weight.size) <= 1, (step, weight.path)
    assert len(seen) == 10 and seen[-1] < 10_000
    report = kprune.report(model)
    assert report.sparsity == pytest.approx(0.9, abs=1e-4)
    # Embeddings count in neither the rate nor, where it is asked for so, the compression.
    parts = [each for each in model.weights if not each.path.endswith("embeddings")]
    pruned = round(0.9 * sum(each.size for each in masked_weights.require(model)))
    whole = sum(np.prod(each.shape) for each in parts)
    assert report.compression(embeddings=False) == pytest.approx(whole / (whole - pruned))
    assert report.compression() < report.compression(embeddings=False)
