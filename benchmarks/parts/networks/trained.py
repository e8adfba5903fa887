"""Trains networks for studies of pruning, or reads them from files, and loads their data."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.parts.networks import cifar10, resnet20
from data import images
from networks import lenet
from training import image_training

Array = np.ndarray[Any, Any]
Labelled = tuple[Array, Array]

STATISTICS_BATCH = 128  # images of which batch normalisation takes statistics together


@dataclasses.dataclass(frozen=True)
class Network:
    """A trained network.

    Args:
        title: what it is, and of what data.
        model: trained, compiled with the metric "accuracy".
        train: what it was trained on, as it takes it, to calibrate with.
        test: what it is evaluated on.
        augmented: from training samples and a seed to batches as they were in training, for the
            statistics of batch normalisation; `None` where there are none.
    """

    title: str
    model: keras.Model
    train: Labelled
    test: Labelled
    augmented: Callable[[Array, int], Sequence[Array]] | None = None


def digits(data_dir: str | None, cache: pathlib.Path, seed: int) -> Network:
    """An MLP 64-128-64-10 on the handwritten digits that come with scikit-learn."""
    found = images.load("digits")
    train, test = ((x.reshape(len(x), -1), y) for x, y in (found.train, found.test))

    def make() -> keras.Model:
        dense = keras.layers.Dense
        model = keras.Sequential(
            [keras.Input((64,)), dense(128, "relu"), dense(64, "relu"), dense(10, "softmax")]
        )
        updates = 40 * -(-len(train[1]) // 32)
        rate = keras.optimizers.schedules.CosineDecay(2e-3, updates)
        image_training.compiled(model, rate).fit(*train, batch_size=32, epochs=40, verbose=0)
        return model

    model = cached(cache / f"digits-{seed}.keras", make, seed)
    return Network("MLP 64-128-64-10 on handwritten digits", model, train, test)


def mnist(name: str, epochs: int) -> Callable[[str | None, pathlib.Path, int], Network]:
    """Returns what trains a LeNet on MNIST, by the recipe of the scripts.

    Args:
        name: "lenet_300_100" or "lenet_5".
        epochs: of training.
    """

    def load(data_dir: str | None, cache: pathlib.Path, seed: int) -> Network:
        folder = None if data_dir is None else str(pathlib.Path(data_dir, "mnist"))
        found = images.load("mnist", folder)
        recipe = dataclasses.replace(image_training.RECIPES["mnist"], epochs=epochs)

        def make() -> keras.Model:
            model = lenet.MODELS[name](found.shape, found.classes, recipe.dropout, recipe.l2)
            image_training.train(model, found, recipe, verbose=0)
            return model

        model = cached(cache / f"{name}-{seed}.keras", make, seed)
        return Network(f"{name} on MNIST, {epochs} epochs", model, found.train, found.test)

    return load


def resnet(data_dir: str | None, cache: pathlib.Path, seed: int) -> Network:
    """ResNet-20 on CIFAR-10 (JPEG q75): the published network, fine-tuned for three epochs."""
    if data_dir is None:
        raise ValueError(
            "resnet20 came without --data_dir; expected the folder of resnet_cifar10 and "
            "cifar10_jpg. Write --data_dir=DIR"
        )
    found = cifar10.images(data_dir)
    x, y = found["train"]

    def make() -> keras.Model:
        return resnet20.fine_tune(resnet20.load(data_dir), found["train"], epochs=3)

    def augmented(normalised: Array, seed: int) -> Sequence[Array]:
        keras.utils.set_random_seed(seed)
        data = tf.data.Dataset.from_tensor_slices(cifar10.pixels(normalised))
        return list(data.map(cifar10.augmented).batch(STATISTICS_BATCH).as_numpy_iterator())

    model = cached(cache / "resnet20-3.keras", make, 0)
    test = cifar10.normalised(found["test"][0]), found["test"][1]
    title = "ResNet-20 on CIFAR-10 (JPEG q75)"
    return Network(title, model, (cifar10.normalised(x), y), test, augmented)


NETWORKS: dict[str, Callable[[str | None, pathlib.Path, int], Network]] = {
    "digits": digits,
    "lenet_300_100": mnist("lenet_300_100", 15),
    "lenet_5": mnist("lenet_5", 6),
    "resnet20": resnet,
}


def calibration(train: Labelled, samples: int, seed: int) -> Labelled:
    """Draws training samples, each class as often as another or once more, in random order.

    Args:
        train: inputs and labels.
        samples: how many to draw, or all where there are fewer.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    x, y = train
    # Each class in an order of its own; the first of all classes, then the second of all, ...
    ranks = np.empty(len(y), np.int64)
    for label in np.unique(y):
        ranks[y == label] = generator.permutation(np.count_nonzero(y == label))
    order = generator.permutation(len(y))
    chosen = order[np.argsort(ranks[order], kind="stable")][:samples]
    chosen = generator.permutation(chosen)
    return x[chosen], y[chosen]


def cached(path: pathlib.Path, make: Callable[[], keras.Model], seed: int) -> keras.Model:
    """Returns the model that is saved at a path, made and saved first where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.set_random_seed(seed)
        make().save(path)
    return keras.saving.load_model(path)
