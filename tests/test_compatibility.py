"""The table "Models" of docs/compatibility.md: every layer of Keras, and some of its networks."""

import warnings

import keras
import pytest

from benchmarks.compatibility import configurations, models

LAYERS = dict(configurations.layers())
WITHOUT_KERNEL = {
    "AdditiveAttention",
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "Normalization",
    "PReLU",
    "RMSNormalization",
}
FAMILIES = ["Bert", "DebertaV3", "Gemma", "Mixtral", "T5", "Whisper", "ViT", "ResNet"]


def outcome(name, make, tmp_path):
    path = str(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return models.attempt(name, make, path)


def test_all_layers_with_weights_are_tried():
    """Counted otherwise: every class with a kernel, by its own source."""
    names = {"Dense", "Conv2D", "Conv3DTranspose", "LSTM", "ConvLSTM2D", "MultiHeadAttention"}
    names |= {"EinsumDense", "Embedding", "Bidirectional", "SeparableConv1D", "GroupQueryAttention"}
    assert names | WITHOUT_KERNEL <= set(LAYERS)
    assert len({getattr(keras.layers, name) for name in LAYERS}) == len(LAYERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, tmp_path):
    expected = "no kernel" if name in WITHOUT_KERNEL else "yes"
    assert outcome(name, LAYERS[name], tmp_path).outcome == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_kerashub(name, tmp_path):
    found = dict(configurations.hub())
    assert len(found) >= 30
    assert outcome(name, found[name], tmp_path).outcome == "yes"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0"])
def test_applications(name, tmp_path):
    make = dict(configurations.applications())[name]
    assert outcome(name, make, tmp_path).outcome == "yes"
