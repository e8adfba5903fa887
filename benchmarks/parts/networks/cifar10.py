"""Reads CIFAR-10 (JPEG q75), and prepares its images for ResNet-20.

The images went through JPEG at quality 75, which costs a network that was trained on lossless ones
ten points.
"""

import pathlib
import tarfile
from typing import Any

import numpy as np
import tensorflow as tf

Array = np.ndarray[Any, Any]
Labelled = tuple[Array, Array]

IMAGES = "cifar10_jpg/CIFAR-10-images.tar.xz"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as the checkpoint was trained


def images(data_dir: str) -> dict[str, Labelled]:
    """Reads CIFAR-10 (JPEG q75).

    Args:
        data_dir: where `cifar10_jpg/CIFAR-10-images.tar.xz` is, `{train,test}/<class>/NNNN.jpg`.

    Returns:
        For "train" and "test" uint8 images [n, 32, 32, 3] and int64 labels [n], class by class;
        labels are the places of the classes in the alphabet, airplane to truck.

    Raises:
        FileNotFoundError: it is not there.
    """
    found: dict[str, dict[tuple[str, str], Array]] = {"train": {}, "test": {}}
    with tarfile.open(pathlib.Path(data_dir, IMAGES)) as archive:
        for member in archive:
            if member.name.endswith(".jpg"):
                *_, part, name, number = member.name.split("/")
                data = archive.extractfile(member).read()  # type: ignore[union-attr]
                # As libjpeg decodes by itself, and with it what the network was tested with.
                image = tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE")
                found[part][name, number] = image.numpy()
    classes = sorted({name for name, _ in found["train"]})
    return {
        part: (
            np.stack([each[key] for key in sorted(each)]),
            np.array([classes.index(name) for name, _ in sorted(each)], np.int64),
        )
        for part, each in found.items()
    }


def normalised(x: Any) -> Any:
    """Returns images as the network takes them: float32 from uint8, [..., 3]."""
    if isinstance(x, tf.Tensor):
        return (tf.cast(x, tf.float32) / 255 - MEAN) / DEVIATION
    mean, deviation = np.array(MEAN, np.float32), np.array(DEVIATION, np.float32)
    return (x.astype(np.float32) / 255 - mean) / deviation


def augmented(x: Any) -> Any:
    """Returns a normalised image as the network is trained with: flipped or not, and shifted.

    Args:
        x: a uint8 image [32, 32, 3], cropped again after a padding of 4 black pixels.
    """
    x = tf.image.random_flip_left_right(tf.pad(x, ((4, 4), (4, 4), (0, 0))))
    return normalised(tf.image.random_crop(x, (32, 32, 3)))


def pixels(x: Array) -> Array:
    """Returns normalised images as they were: uint8."""
    mean, deviation = np.array(MEAN, np.float32), np.array(DEVIATION, np.float32)
    return np.rint((x * deviation + mean) * 255).astype(np.uint8)
