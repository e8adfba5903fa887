"""Builds ResNet-20 for CIFAR-10, reads its published checkpoint, and fine-tunes it.

The checkpoint is PyTorch's, read with `pickle` and NumPy alone. A short fine-tuning makes up for
most of what JPEG images cost it.
"""

import collections
import io
import pathlib
import pickle
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.parts.networks import cifar10

Array = np.ndarray[Any, Any]

CHECKPOINT = "resnet_cifar10/resnet20-12fca82f.th"
MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of PyTorch's file format before version 1.6
BATCH = 128  # images in a step of the fine-tuning
RATE = 0.02  # where the fine-tuning begins


def build() -> keras.Model:
    """Returns ResNet-20, compiled, with random weights; it takes normalised images, gives logits.

    A block that halves the image subsamples its shortcut and pads it with channels of zeros
    (option A of the paper). At stride 2 both sides are padded by one pixel, as PyTorch does;
    TensorFlow's "same" would pad the right and the bottom only.

    Reference:
        He et al., Deep Residual Learning for Image Recognition, 2016.
    """
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.ReLU()(_convolution(inputs, 16, 1, ""))
    for stage, channels in enumerate((16, 32, 64), 1):
        for block in range(3):
            strides = 2 if stage > 1 and block == 0 else 1
            y = _convolution(x, channels, strides, f"layer{stage}_{block}_")
            y = _convolution(keras.layers.ReLU()(y), channels, 1, f"layer{stage}_{block}_", "2")
            if strides > 1:
                side = (channels - x.shape[-1]) // 2
                x = keras.layers.AveragePooling2D(1, strides)(x)  # every second pixel
                x = keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (side, side)))
            x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(10, name="linear")(x), name="resnet20")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE, momentum=0.9), loss, metrics=["accuracy"])
    return model


def _convolution(x: Any, channels: int, strides: int, prefix: str, number: str = "1") -> Any:
    """A 3x3 convolution and its batch normalisation, named as in the checkpoint."""
    if strides > 1:
        x = keras.layers.ZeroPadding2D(1)(x)
    padding = "valid" if strides > 1 else "same"
    layer = keras.layers.Conv2D(
        channels, 3, strides, padding, use_bias=False, name=f"{prefix}conv{number}"
    )
    # PyTorch's momentum of 0.1 is the part of the new value, Keras's that of the old one.
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{prefix}bn{number}")(
        layer(x)
    )


def load(data_dir: str) -> keras.Model:
    """Returns ResNet-20 with the weights of the checkpoint.

    Args:
        data_dir: where `resnet_cifar10/resnet20-12fca82f.th` is.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: the file does not hold the weights of this network.
    """
    path = pathlib.Path(data_dir, CHECKPOINT)
    tensors = tensors_of(path.read_bytes())["state_dict"]
    model = build()
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        name = "module." + layer.name.replace("_", ".")
        for variable in layer.weights:
            found = tensors.pop(f"{name}.{_NAMES[variable.name]}", None)
            if variable is kernel and found is not None:
                found = found.transpose(2, 3, 1, 0) if found.ndim == 4 else found.T
            if found is None or found.shape != tuple(variable.shape):
                raise ValueError(
                    f"{path} has {name} of shape {np.shape(found)}; expected a tensor for "
                    f"{variable.path} of shape {tuple(variable.shape)}. Use the file of "
                    "github.com/akamaster/pytorch_resnet_cifar10."
                )
            variable.assign(found)
    return model


_NAMES = {  # Keras's to PyTorch's
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def tensors_of(data: bytes) -> Any:
    """Reads a PyTorch checkpoint of the format before version 1.6, tensors as NumPy arrays.

    It is a row of pickles: a magic number, a version, the machine, the checkpoint with references
    to storages, and the keys of these; then the storages, each with its length in front.

    Args:
        data: the bytes of the file.

    Raises:
        ValueError: another format.
        pickle.UnpicklingError: it names something that no tensor of float32 is made of.
    """
    file = io.BytesIO(data)
    storages: dict[str, Array] = {}
    header = [] if data[:2] == b"PK" else [_Unpickler(file, storages).load() for _ in range(3)]
    if not header or header[0] != MAGIC:
        raise ValueError(
            f"The checkpoint begins with {data[:4]!r}; expected PyTorch's format before version "
            "1.6. Write torch.save(checkpoint, path, _use_new_zipfile_serialization=False)."
        )
    checkpoint = _Unpickler(file, storages).load()
    for key in _Unpickler(file, storages).load():
        size = int.from_bytes(file.read(8), "little")
        storages[key][:] = np.frombuffer(file.read(4 * size), "<f4")
    return checkpoint


class _Unpickler(pickle.Unpickler):
    """Knows what tensors are made of, and refuses to call anything else."""

    def __init__(self, file: io.BytesIO, storages: dict[str, Array]) -> None:
        super().__init__(file)
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for one of three names."""
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch", "FloatStorage"): np.float32,
            ("torch._utils", "_rebuild_tensor"): _view,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(
                f"The checkpoint names {module}.{name}; expected tensors of float32 alone, "
                "written as torch.save(model.state_dict(), path)."
            )
        return known[module, name]

    def persistent_load(self, pid: Any) -> Array:
        """Returns a storage, to be filled when its values come."""
        _, kind, key, _, size, _ = pid
        return self.storages.setdefault(key, np.zeros(size, kind))


def _view(storage: Array, offset: int, size: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    steps = [each * storage.itemsize for each in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps)


def fine_tune(
    model: keras.Model, train: cifar10.Labelled, epochs: int, seed: int = 0
) -> keras.Model:
    """Trains on: SGD with a cosine from 0.02 to nothing, flips, crops of images padded by 4 pixels.

    Args:
        model: of `load`.
        train: uint8 images and labels.
        epochs: passes over them; none leaves the model as it is.
        seed: of the order of the images, the flips and the crops.
    """
    steps = -(-len(train[1]) // BATCH)
    if epochs:
        keras.utils.set_random_seed(seed)
        data = tf.data.Dataset.from_tensor_slices(train).shuffle(len(train[1]))
        data = data.map(lambda x, y: (cifar10.augmented(x), y))
        model.optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(RATE, epochs * steps)
        model.fit(data.batch(BATCH).prefetch(2), epochs=epochs, shuffle=False, verbose=2)
    return model
