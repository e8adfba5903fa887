"""Models with layers that act in training alone are exported as they predict."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import kprune

layers = keras.layers


RANDOM = {
    name: kind
    for name, kind in vars(layers).items()
    if name.startswith("Random")
    or name in ("CutMix", "MixUp", "AugMix", "RandAugment")
    or "Noise" in name
    or name in ("Dropout", "SpatialDropout2D")
}
ARGUMENTS = {
    "RandomCrop": {"height": 16, "width": 16},
    "RandomPosterization": {"factor": 4},
}


def make(name):
    signature = inspect.signature(RANDOM[name].__init__).parameters
    given = dict(ARGUMENTS.get(name, {}))
    for argument, parameter in signature.items():
        needed = parameter.default is parameter.empty and argument not in ("self", "args", "kwargs")
        if needed and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            given.setdefault(argument, 0.3)
    return RANDOM[name](**given)


def network(form, *random):
    image = keras.Input((16, 16, 3))
    body = [layers.Conv2D(8, 3), layers.GlobalAveragePooling2D(), layers.Dense(4)]
    if form == "sequential":
        return keras.Sequential([image, *random, *body])
    if form == "nested":
        augmentation = keras.Sequential([keras.Input((16, 16, 3)), *random])
        return keras.Sequential([image, augmentation, *body])
    if form == "functional":
        x = image
        for layer in (*random, *body):
            x = layer(x)
        return keras.Model(image, x)
    model = Subclassed([*random, *body])
    model(np.zeros((1, 16, 16, 3), "float32"))
    return model


class Subclassed(keras.Model):
    """Calls its layers one after another, without a word of training."""

    def __init__(self, chain):
        super().__init__()
        self.chain = chain

    def call(self, x):
        for layer in self.chain:
            x = layer(x)
        return x


def test_the_layers_are_found():
    assert {"RandomFlip", "RandomContrast", "GaussianNoise", "Dropout", "MixUp"} <= set(RANDOM)


@pytest.mark.parametrize(
    "names", [pytest.param([name], marks=pytest.mark.slow) for name in RANDOM] + [list(RANDOM)]
)
def test_a_saved_model_with_every_random_layer(names, tmp_path):
    """Together, and each by itself."""
    model = network("sequential", *map(make, names))
    kprune.prune(model, 0.5)
    report = kprune.export.to_saved_model(kprune.strip(model), tmp_path / "saved")
    assert report.max_difference < 1e-4
    x = np.random.default_rng(0).uniform(0, 1, (3, 16, 16, 3)).astype("float32")
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    found = served(**{report.inputs[0].name: tf.constant(x)})[report.outputs[0].name]
    np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=1e-5)


@pytest.mark.parametrize("form", ["sequential", "functional", "nested", "subclassed"])
def test_files_for_phones(form, tmp_path):
    random = layers.RandomFlip(), layers.RandomRotation(0.1), layers.GaussianNoise(0.1)
    model = network(form, *random)
    kprune.prune(model, 0.5)
    assert kprune.export.check(model).weights == ()  # it is small, and converts
    report = kprune.export.to_tflite(model, tmp_path / "model.tflite", timing_seconds=0)
    assert report.max_difference < 1e-4
    assert "__call__" not in vars(model)


def test_a_training_that_the_model_asks_for_stays(tmp_path):
    """Monte Carlo dropout: `training=True` inside the model is the user's."""

    class Uncertain(keras.Model):
        def __init__(self):
            super().__init__()
            self.drop, self.dense = layers.Dropout(0.9), layers.Dense(3)

        def call(self, x):
            return self.dense(self.drop(x, training=True))

    model = Uncertain()
    model(np.zeros((1, 8), "float32"))
    report = kprune.export.to_saved_model(model, tmp_path / "saved")
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    call = {report.inputs[0].name: tf.ones((4, 8))}
    assert not np.array_equal(served(**call)["output_0"], served(**call)["output_0"])
