"""Loads .tflite files, also such as may be made to harm."""

import os
from pathlib import Path
from typing import Any

from kprune.export._tflite.format import flatbuffer, validation

LIMIT = 1 << 31  # bytes
MAGIC = b"TFL3"


def load(path: str | os.PathLike[str], limit_bytes: int = LIMIT) -> Any:
    """Returns the `ModelT` of a file; tensor data are views of its content.

    Args:
        path: the file.
        limit_bytes: the most that the file, its description, and its tensors, sparse ones unpacked,
            may each take; at least 16 MB.

    Raises:
        ValueError: the file is not a TFLite flatbuffer, has numbers that point to nothing, or takes
            more than the limit.
        OSError: it cannot be read.
    """
    size = Path(path).stat().st_size
    if size > limit_bytes:
        raise ValueError(
            f"{os.fspath(path)} has {size:,} bytes; expected {limit_bytes:,} at most. "
            f"Write limit_bytes={size} where its source is to be trusted."
        )
    content = Path(path).read_bytes()
    finding = f"{os.fspath(path)}, {len(content)} bytes that start with {content[:8]!r}"
    cause: Exception | None = None
    if content[4:8] == MAGIC:
        try:
            validation.check_size(content, limit_bytes)
            model = flatbuffer.parse(content)
            validation.check_model(model, limit_bytes)
            return model
        except Exception as error:  # the generated reader raises whatever it runs into
            finding += f" ({type(error).__name__}: {error})"
            cause = error
    raise ValueError(
        f"{finding}, cannot be read; expected a TFLite file, whole, with TFL3 at byte 4. "
        f'Write one with kprune.export.to_tflite(model, "{os.fspath(path)}").'
    ) from cause
