"""Makes temporary directories beside a target, and removes those that killed processes left.

A writer holds a lock (`flock`) on its temporary directory as long as it lives; the kernel releases
it when the process ends, however it ends. So a directory whose lock is free was abandoned. A second
lock, on the parent directory, is held for the moments in which names change. Neither lock leaves a
file behind, and where the file system has no locks, nothing is removed.
"""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".kprune"
OLD = "old"  # the name, in a temporary directory, of a target that is being replaced
MAX_NAME = 200  # bytes of the target's name that are repeated; names have 255 at most


@contextlib.contextmanager
def make_beside(target: Path) -> Iterator[Path]:
    """Yields a new directory beside `target`, locked while the block runs and removed after it.

    What killed writers to the same target have left is removed before.

    Raises:
        OSError: the parent directory cannot be written to.
    """
    remove_abandoned(target)
    with contextlib.ExitStack() as stack:
        with locked(target.parent):  # nobody sees the directory before it has its lock
            directory = Path(
                tempfile.mkdtemp(prefix=_prefix(target), suffix=SUFFIX, dir=target.parent)
            )
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            stack.enter_context(locked(directory))
        yield directory


def remove_abandoned(target: Path) -> None:
    """Removes the temporary directories of killed writers to `target`.

    A target that was killed between two renames gets its old content back.
    """
    pattern = re.compile(re.escape(_prefix(target)) + r"[a-z0-9_]{8}" + re.escape(SUFFIX))
    with contextlib.ExitStack() as stack:
        abandoned = []
        with locked(target.parent):
            for path in _list(target.parent):
                if pattern.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                    lock = _lock(path, wait=False)
                    if lock is None:
                        continue
                    stack.callback(os.close, lock)
                    abandoned.append(path)
                    if (path / OLD).exists() and not target.exists():
                        os.replace(path / OLD, target)
        for path in abandoned:  # we hold its lock: nobody else removes it
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the lock of a directory during a block, waiting for it; no lock where there is none."""
    lock = _lock(directory, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _lock(directory: Path, wait: bool) -> int | None:
    """Returns a descriptor that holds the lock of a directory; None where it cannot be had."""
    if fcntl is None:
        return None
    descriptor = None
    try:
        descriptor = os.open(directory, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # held by a living writer, gone meanwhile, or not supported
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


def _list(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except PermissionError:
        return []  # names may be written, but not listed


def _prefix(target: Path) -> str:
    """Returns how the names of a target's temporary directories begin."""
    name = target.name
    if len(os.fsencode(name)) > MAX_NAME:
        name = f"{name[:32]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}"
    return f".{name}."
