"""Configs that name code, or that Keras would take long for, are refused before Keras sees them."""

import json

import keras
import numpy as np
import pytest
from attacks import CODE, LIMIT, dense, layer

from kprune import export
from kprune._keras import private
from kprune.export._compressed import container
from kprune.export._reading import config_check

layers = keras.layers


def fail(*_, **__):
    pytest.fail("Keras was given the config")


@pytest.mark.parametrize("where", ["layer", "activation", "loss", "beside"])
@pytest.mark.parametrize("attack", CODE)
def test_a_config_that_names_code_is_refused_before_keras_sees_it(
    attack, where, tmp_path, monkeypatch
):
    model, path = dense(), tmp_path / "model.kprune"
    model.compile("sgd", "mse")
    export.save_compressed(model, path)
    directory, sections = container.unpack(path.read_bytes(), LIMIT)
    del directory["lengths"]
    config = directory["config"]
    if where == "layer":
        config["config"]["layers"].append(CODE[attack])
    elif where == "activation":
        config["config"]["layers"][1]["config"]["activation"] = CODE[attack]
    elif where == "loss":
        config["compile_config"]["loss"] = CODE[attack]
    else:
        config["build_config"] = {"anything": [CODE[attack]]}
    path.write_bytes(container.pack(directory, [bytes(each) for each in sections]))
    monkeypatch.setattr(private, "declared_bytes", fail)
    monkeypatch.setattr(keras.models, "load_model", fail)
    with pytest.raises(ValueError, match="the config "):
        export.load_compressed(path)


def test_the_users_own_classes_are_let_through():
    own = layer("somewhere.else", "Own")
    with pytest.raises(ValueError, match=r"custom_objects=\{...\}"):
        config_check.check_config(own)
    config_check.check_config(own, {"Own": layers.Dense})
    config_check.check_config(own, safe_mode=False)
    with keras.saving.custom_object_scope({"Own": layers.Dense}):
        config_check.check_config(own)


@pytest.mark.parametrize(
    "entry",
    [
        keras.ops.Relu() if hasattr(keras.ops, "Relu") else layers.ReLU(),
        keras.activations.gelu,
        keras.losses.mean_squared_error,
        keras.dtype_policies.DTypePolicy("mixed_float16"),
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10)),
        layers.StringLookup(vocabulary=["a", "b"]),
        np.ones((2, 3), "float32"),
        keras.random.SeedGenerator(1),
        keras.regularizers.L2(0.1),
    ],
    ids=lambda each: getattr(each, "__name__", type(each).__name__),
)
def test_what_keras_writes_of_its_own_is_let_through(entry):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(entry)))
    config_check.check_config(config)


def sequential(count):
    return layer("keras", "Sequential", name="s", layers=[layer("keras.layers", "ReLU")] * count)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (sequential(501), "more than 500 layers in Sequential"),
        ([sequential(400)] * 2, "more than 500 layers in Sequential"),
        (layer("keras.layers", "TextVectorization", ngrams=1 << 30), "over which Keras loops"),
        ([layer("keras.layers", "ReLU")] * 10_000, "10,000 layers and other objects would take"),
    ],
)
def test_what_keras_takes_long_for_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        config_check.check_size(config, LIMIT)


def test_a_thousand_objects_are_never_too_many():
    config_check.check_size([layer("keras.layers", "ReLU")] * 1000, limit_bytes=1)
