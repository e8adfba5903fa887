"""Writes files and directories completely or not at all, and measures their size."""

import contextlib
import dataclasses
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from kprune._support import atomic, temporaries

ATTEMPTS = 5  # to write below parents that another writer removes
BYTES_PER_READ = 1 << 20  # so that a large file is never in memory as a whole


@dataclasses.dataclass(frozen=True)
class Size:
    """Holds the bytes on the disk, and those after gzip (level 9), as in an application package."""

    bytes: int
    gzip_bytes: int


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], marker: str | None = None) -> Iterator[Path]:
    """Yields a temporary path, and moves what was written there to `path` if the block succeeds.

    Use it around work that may fail or be stopped: `path` keeps its old content until the new one
    is complete and on the disk, so that a kill or a power cut leaves one of both. Missing parent
    directories are created. If the block raises, the temporary file is removed, and so are the
    parents that were created for it; what a killed process left, the next call for the same path
    removes. Of several writers to one path, each succeeds, and the last one's result stays.

    Args:
        path: the path of the result. It is validated before the block runs.
        marker: for a directory, the name of a file that every directory of its kind contains
            ("saved_model.pb"); an existing directory without it is not replaced. `None`, the
            default: the result is a file.

    Raises:
        ValueError: the path is empty.
        OSError: nothing can be written there (`FileExistsError`, `IsADirectoryError`,
            `NotADirectoryError` or `PermissionError`), or the block wrote nothing
            (`FileNotFoundError`).

    Example:
        >>> with replacing("models/lenet.tflite") as temporary:
        ...     temporary.write_bytes(b"content")
        7
    """
    target = _resolve_target(path, marker)
    created: list[Path] = []
    is_written = False
    try:
        with _make_temporary_directory(target, created) as directory:
            # The same file system, so that a move is a rename, and the name, the suffix and the
            # permissions that the result would have had in place.
            temporary = directory / target.name
            yield temporary
            if not temporary.exists():
                raise FileNotFoundError(
                    f"nothing was written for {target}: expected the block to write "
                    f"{temporary}. Write to the path that `replacing` yields."
                )
            atomic.flush(temporary)
            with temporaries.locked(target.parent):  # two writers take turns
                _check_target(target, marker)  # others may have written there meanwhile
                atomic.replace(temporary, target, directory / temporaries.OLD)
            is_written = True
    finally:
        if not is_written:
            for parent in created:
                with contextlib.suppress(OSError):  # something else was written there meanwhile
                    parent.rmdir()


def sizes(path: str | os.PathLike[str]) -> Size:
    """Returns the size of a file, or of all files in a directory, before and after gzip.

    The gzip size is that of one stream of level 9 over the files in the order of their names; it
    depends only on their content.

    Args:
        path: an existing file or directory.

    Example:
        >>> size = sizes("lenet.tflite")
        >>> size.gzip_bytes < size.bytes
        True
    """
    root = Path(path)
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)  # 31: the largest window, a gzip header
    plain = packed = 0
    for file in files:
        with file.open("rb") as stream:
            while piece := stream.read(BYTES_PER_READ):
                plain += len(piece)
                packed += len(compressor.compress(piece))
    return Size(plain, packed + len(compressor.flush()))


def _resolve_target(path: str | os.PathLike[str], marker: str | None) -> Path:
    """Returns the absolute path behind links, or raises if nothing can be written there."""
    if not os.fspath(path):
        raise ValueError(
            "the path is empty; expected where to write, relative or absolute. "
            'Write path="models/pruned".'
        )
    target = Path(os.path.realpath(path))
    _check_target(target, marker)
    return target


def _check_target(target: Path, marker: str | None) -> None:
    """Raises OSError if there is something that must not be replaced."""
    if marker is None and target.is_dir():
        raise IsADirectoryError(
            f"{target} is a directory; expected the path of a file. "
            f'Write path="{target / "model"}".'
        )
    if marker is not None and target.exists():
        if not target.is_dir():
            raise FileExistsError(
                f"{target} is a file; expected a directory to write to, new or old. "
                f'Write path="{target.with_name(target.stem + "-saved")}".'
            )
        if any(target.iterdir()) and not (target / marker).exists():
            raise FileExistsError(
                f"{target} holds files, but no {marker}, so replacing it could lose something; "
                f"expected a new, an empty or an earlier directory of this kind. "
                f'Write path="{target / "model"}".'
            )


def _make_parents(directory: Path) -> list[Path]:
    """Creates missing directories; returns those that it created, deepest first."""
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    if not directory.is_dir():
        raise NotADirectoryError(
            f"{directory} is a file; expected a directory that can hold the result. "
            f'Write path="{directory.with_name(directory.stem + "-models")}/...".'
        )
    created: list[Path] = []
    try:
        for parent in reversed(missing):
            parent.mkdir(exist_ok=True)
            created.insert(0, parent)
    except OSError as error:
        for parent in created:
            parent.rmdir()
        raise _describe_unwritable(directory, error) from error
    return created


@contextlib.contextmanager
def _make_temporary_directory(target: Path, created: list[Path]) -> Iterator[Path]:
    """Yields a temporary directory beside the target; notes the parents that it had to create."""
    with contextlib.ExitStack() as stack:
        for attempt in range(ATTEMPTS):
            created += _make_parents(target.parent)
            try:
                directory = stack.enter_context(temporaries.make_beside(target))
                break
            except FileNotFoundError as error:  # a writer that failed has removed its parents
                if attempt == ATTEMPTS - 1:
                    raise _describe_unwritable(target.parent, error) from error
            except OSError as error:
                raise _describe_unwritable(target.parent, error) from error
        yield directory


def _describe_unwritable(directory: Path, error: OSError) -> OSError:
    kind = PermissionError if isinstance(error, PermissionError) else OSError
    return kind(
        f"{directory} cannot be written to ({error.strerror}); expected a directory that this "
        f'process may write in. Write path="{Path(tempfile.gettempdir()) / "model"}".'
    )
