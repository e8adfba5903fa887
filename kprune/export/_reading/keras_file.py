"""Loads a .keras file once its archive, its config and its weights are known to be harmless."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import h5py
import keras

from kprune.export._compressed import archive
from kprune.export._reading import config_check, json_text

CONFIG = "config.json"  # of Keras
MAX_ENTRIES = 10_000  # of the archive
MAX_LINKS = 1_000_000  # of the weights' file


def load(path: str | os.PathLike[str], limit_bytes: int) -> Any:
    """Returns the model of a .keras file, not compiled.

    Args:
        path: the file.
        limit_bytes: the most that the unpacked archive, the weights in it, and the description of
            the model (16 MB in any case) may each take.

    Raises:
        ValueError: the file is no .keras file, takes more, leads out of itself, or names code.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:  # an error of the system is one; what follows is the file's
        try:
            config = check_archive(file, limit_bytes)
            declared = archive.declared_bytes(config, None, safe_mode=True)
            if declared > limit_bytes:
                raise ValueError(
                    f"its variables would take {declared:,} bytes; expected {limit_bytes:,} at "
                    f"most. Write limit_bytes={declared} where its source is to be trusted."
                )
        except Exception as error:
            raise ValueError(f"{os.fspath(path)} is not a sound .keras file: {error}") from error
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:
        message = str(error).partition("\n")[0]
        raise ValueError(
            f"Keras cannot make the model of {os.fspath(path)}: {type(error).__name__}: {message} "
            "Expected a .keras file whose classes Keras has or you have registered. Write "
            "keras.saving.load_model(path) and give the model instead."
        ) from error


def check_archive(file: Any, limit_bytes: int) -> dict[str, Any]:
    """Returns the config of an archive, or raises an error if Keras cannot be given the archive.

    Args:
        file: open for reading.
        limit_bytes: the most that its parts may take.
    """
    with zipfile.ZipFile(file) as opened:
        entries = opened.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > limit_bytes or len(entries) > MAX_ENTRIES:
            raise ValueError(
                f"it holds {len(entries):,} files of {size:,} bytes; expected {limit_bytes:,} "
                f"bytes at most. Write limit_bytes={size} where its source is to be trusted."
            )
        for entry in entries:
            _check_name(entry)
        if len({entry.filename for entry in entries}) != len(entries):
            raise ValueError("two of its files have the same name")
        config = json_text.parse_object(opened.read(CONFIG), limit_bytes)
        config_check.name_optimizers(config)
        config_check.check_config(config)
        config_check.check_size(config, limit_bytes)
        left = limit_bytes
        for entry in entries:  # several where the weights are split over files
            count = MEASURES.get(PurePosixPath(entry.filename).suffix)
            if count is not None:
                left -= count(opened.read(entry), left)
    return config


def count_h5(content: bytes, limit_bytes: int) -> int:
    """Returns the bytes of the values in an HDF5 file.

    Raises:
        ValueError: the file leads to other files, or there are more than the limit.
    """
    with h5py.File(io.BytesIO(content), "r") as store:
        queue: list[Any] = [store]
        seen: set[Any] = set()
        size = links = 0
        while queue:
            group = queue.pop()
            for name in group:
                links += 1
                if links > MAX_LINKS:
                    raise ValueError(f"its weights have more than {MAX_LINKS:,} names")
                link = group.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    raise ValueError(f"its weights have a {type(link).__name__}, {name!r:.100}")
                node = group[name]
                address = h5py.h5o.get_info(node.id).addr
                if address in seen:
                    continue  # a group may hold itself
                seen.add(address)
                if isinstance(node, h5py.Group):
                    queue.append(node)
                    continue
                if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external:
                    raise ValueError(f"its weight {name!r:.100} is kept in another file")
                size += node.size * node.dtype.itemsize
    _check_size(size, limit_bytes)
    return size


def count_npz(content: bytes, limit_bytes: int) -> int:
    """Returns the bytes of the arrays in an archive of NumPy; ValueError if beyond the limit."""
    with zipfile.ZipFile(io.BytesIO(content)) as arrays:
        size = sum(entry.file_size for entry in arrays.infolist())
    _check_size(size, limit_bytes)
    return size


# What Keras keeps weights in, and how many bytes they take.
MEASURES: dict[str, Callable[[bytes, int], int]] = {".h5": count_h5, ".npz": count_npz}


def _check_size(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise ValueError(
            f"its weights take {size:,} bytes; expected {limit_bytes:,} at most. "
            f"Write limit_bytes={size} where its source is to be trusted."
        )


def _check_name(entry: zipfile.ZipInfo) -> None:
    """Raises ValueError if a file of an archive would be written outside of its directory."""
    name = PurePosixPath(entry.filename.replace("\\", "/"))
    is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
    if name.is_absolute() or ".." in name.parts or ":" in entry.filename or is_link:
        raise ValueError(f"its file {entry.filename!r:.100} would be written elsewhere")
