"""Reads labelled images: scikit-learn's digits, and IDX files of MNIST and Fashion-MNIST."""

import dataclasses
import gzip
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Labelled = tuple[Array, Array]

BATCH = 1000  # images classified at a time

DATASETS = ("digits", "mnist", "fashion_mnist")
TEST_FRACTION = 0.2  # of the digits, which come without a split of their own
SPLIT_SEED = 0  # fixed, so that runs with different seeds are tested on the same images
IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
IDX_FILES = {  # both spellings are in use; each may end in .gz
    "train images": ("train-images-idx3-ubyte", "train-images.idx3-ubyte"),
    "train labels": ("train-labels-idx1-ubyte", "train-labels.idx1-ubyte"),
    "test images": ("t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"),
    "test labels": ("t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"),
}


@dataclasses.dataclass(frozen=True)
class Images:
    """Images to train on, and others to test on.

    Args:
        train: float32 images [n, height, width, 1] in [0, 1], and int64 labels [n].
        test: the same, never seen in training.
    """

    train: Labelled
    test: Labelled

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image."""
        return tuple(self.train[0].shape[1:])

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(max(self.train[1].max(), self.test[1].max())) + 1


def load(dataset: str, data_dir: str | None = None) -> Images:
    """Loads a data set.

    Use "digits" for a run that needs no file: 1,797 images of 8x8 pixels come with scikit-learn.

    Args:
        dataset: "digits", "mnist" or "fashion_mnist".
        data_dir: where the four IDX files are, gzip or not. Default: `keras.datasets`, which
            downloads them once.

    Raises:
        ValueError: an unknown data set, or a file that is no IDX file.
        FileNotFoundError: a file is missing.

    Example:
        >>> load("digits").train[0].shape
        (1437, 8, 8, 1)
    """
    if dataset == "digits":
        return _digits()
    if dataset not in DATASETS:
        raise ValueError(
            f"dataset={dataset!r}; expected one of {', '.join(DATASETS)}. Write dataset='digits'."
        )
    if data_dir is None:
        import keras

        train, test = getattr(keras.datasets, dataset).load_data()
    else:
        read = {part: read_idx(_find(data_dir, part)) for part in IDX_FILES}
        train = read["train images"], read["train labels"]
        test = read["test images"], read["test labels"]
    return Images(_scaled(train[0], train[1], 255), _scaled(test[0], test[1], 255))


def read_idx(path: str | Path) -> Array:
    """Reads a file of the IDX format, gzip or not.

    Args:
        path: two zero bytes, a type, the number of axes, the axes in big-endian, the values.

    Raises:
        ValueError: the file is not of this format, or is cut off.

    Example:
        >>> read_idx("train-images-idx3-ubyte.gz").shape
        (60000, 28, 28)
    """
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":  # told by its first bytes: names are not to be trusted
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{path} is a damaged gzip file ({error}); expected a whole one. Download it again."
            ) from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise ValueError(
            f"{path} starts with {content[:4]!r}; expected an IDX file, such as "
            r"b'\x00\x00\x08\x03' for images. Download it again."
        )
    start, kind = 4 + 4 * content[3], np.dtype(IDX_TYPES[content[2]])
    values = content[start:]
    axes = content[4:start].ljust(start - 4, b"\xff")  # where cut off, too large for any file
    shape = struct.unpack(f">{content[3]}I", axes)
    expected = math.prod(shape) * kind.itemsize
    if len(values) != expected:
        raise ValueError(
            f"{path} has {len(values):,} bytes of values; expected {expected:,} for the shape "
            f"{shape}. Download it again."
        )
    return np.frombuffer(values, kind).reshape(shape)


def hold_out(images: Images, fraction: float) -> Images:
    """Puts the last part of the training images in the place of the test images.

    Use it to choose a recipe without a look at the test images.

    Args:
        images: in an order without meaning, as all sets here are.
        fraction: of the training images, in (0, 1).

    Example:
        >>> hold_out(load("digits"), 0.2).test[0].shape
        (287, 8, 8, 1)
    """
    x, y = images.train
    kept = len(x) - round(fraction * len(x))
    return Images((x[:kept], y[:kept]), (x[kept:], y[kept:]))


def accuracy(classify: Callable[[Array], Any], labelled: Labelled) -> float:
    """Returns the fraction of images whose highest score is that of their label.

    Args:
        classify: from images [n, height, width, 1] to scores [n, classes]; a Keras model is one,
            and computes as in inference when it is called so.
        labelled: images and labels.

    Example:
        >>> accuracy(model, load("digits").test)
        0.975
    """
    x, y = labelled
    found = [
        np.argmax(np.asarray(classify(x[start : start + BATCH])), axis=-1)
        for start in range(0, len(x), BATCH)
    ]
    return float(np.mean(np.concatenate(found) == y))


def _digits() -> Images:
    from sklearn import datasets, model_selection

    x, y = datasets.load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = model_selection.train_test_split(
        x.reshape(-1, 8, 8), y, test_size=TEST_FRACTION, random_state=SPLIT_SEED, stratify=y
    )
    return Images(_scaled(x_train, y_train, 16), _scaled(x_test, y_test, 16))


def _scaled(x: Array, y: Array, top: float) -> Labelled:
    """Brings pixels from [0, top] to [0, 1], with an axis for the channel."""
    if x.ndim != 3 or y.shape != (len(x),):
        raise ValueError(
            f"images have shape {x.shape} and labels {y.shape}; expected (n, height, width) and "
            "(n,). Are the files of images and labels in each other's place?"
        )
    return (x[..., None] / np.float32(top)).astype(np.float32), y.astype(np.int64)


def _find(data_dir: str, part: str) -> Path:
    names = [name + end for name in IDX_FILES[part] for end in ("", ".gz")]
    for name in names:
        if (path := Path(data_dir, name)).is_file():
            return path
    raise FileNotFoundError(
        f"{data_dir} has no file of {part}; expected one of {', '.join(names)}. Write "
        "--data_dir=DIR with the folder of the four IDX files, or leave it out to download them."
    )
