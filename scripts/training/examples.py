"""Loads a model and its data from files, or trains an example, for programs that prune it."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np

from data import images
from networks import lenet
from training import image_training

Array = np.ndarray[Any, Any]
Data = tuple[Any, ...]  # (x,), (x, y) or (x, y, sample_weight)

PARTS = ("x", "y", "sample_weight")


@dataclasses.dataclass(frozen=True)
class Example:
    """A trained model with its calibration and evaluation data.

    Args:
        model: trained, dense.
        calibration: whole arrays (x,), (x, y) or (x, y, sample_weight).
        evaluation: the same of other samples.
    """

    model: keras.Model
    calibration: Data
    evaluation: Data


def trained(dataset: str, data_dir: str | None, network: str, epochs: int, verbose: int) -> Example:
    """Trains a LeNet: half a minute on the digits that come with scikit-learn.

    Args:
        dataset: "digits", "mnist" or "fashion_mnist".
        data_dir: folder with the IDX files of the latter two. Default: Keras downloads them.
        network: "lenet_300_100" or "lenet_5".
        epochs: of training.
        verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch.

    Example:
        >>> trained("digits", None, "lenet_300_100", epochs=1, verbose=0).calibration[0].shape
        (1437, 8, 8, 1)
    """
    found = images.load(dataset, data_dir)
    recipe = dataclasses.replace(image_training.RECIPES[dataset], epochs=epochs)
    model = lenet.MODELS[network](found.shape, found.classes, recipe.dropout, recipe.l2)
    image_training.train(model, found, recipe, verbose)
    return Example(model, found.train, found.test)


def loaded(path: str) -> keras.Model:
    """Loads a model from a `.keras` file.

    Raises:
        ValueError: there is no such file, or it holds no model.
    """
    try:
        model: keras.Model = keras.saving.load_model(path)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"--model={path} cannot be loaded ({error}); expected a .keras file. Leave it out to "
            "prune an example"
        ) from error
    return model


def read(path: str, samples: int | None = None) -> Data:
    """Reads arrays `x`, `y` and `sample_weight` from a `.npz` file, or `x` alone from a `.npy`.

    Args:
        path: what `numpy.savez("calibration.npz", x=x, y=y)` writes; x alone does for criteria
            that need no labels. Several inputs of a model are named `x/NAME`.
        samples: read so many of the first. Default: all.

    Raises:
        ValueError: there is no such file, it is no such file, or it has no x.
    """
    try:
        found = np.load(path, allow_pickle=False)
        arrays = {"x": found} if isinstance(found, np.ndarray) else dict(found)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); expected a .npz file with arrays x and y. Write it "
            f'with numpy.savez("{Path(path).stem}.npz", x=x, y=y)'
        ) from error
    parts = {name: _part(arrays, name, samples) for name in PARTS}
    if parts["x"] is None:
        raise ValueError(
            f"{path} has arrays {', '.join(sorted(arrays)) or 'none'}; expected x, and y where "
            f'labels are needed. Write it with numpy.savez("{Path(path).stem}.npz", x=x, y=y)'
        )
    kept = [parts[name] for name in PARTS]
    while kept[-1] is None:
        kept.pop()
    return tuple(kept)


def _part(arrays: dict[str, Array], name: str, samples: int | None) -> Any:
    """An array, or a dictionary of arrays where they are named `x/NAME`."""
    if name in arrays:
        return arrays[name][:samples]
    nested = {
        k.split("/", 1)[1]: v[:samples] for k, v in arrays.items() if k.startswith(f"{name}/")
    }
    return nested or None
