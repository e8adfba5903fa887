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
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".kprune"
# Seconds to wait for the lock of a parent directory, which writers hold for a moment. Someone else
# may hold it for long, as `flock DIRECTORY COMMAND` does: then names change without it, and what
# was left stays.
PATIENCE = 5.0
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
        with locked(target.parent) as is_locked:
            for path in _list(target.parent) if is_locked else ():
                if pattern.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                    if not stack.enter_context(locked(path, seconds=0)):
                        continue  # its writer lives
                    abandoned.append(path)
                    if (path / OLD).exists() and not target.exists():
                        os.replace(path / OLD, target)
        for path in abandoned:  # we hold its lock: nobody else removes it
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def locked(directory: Path, seconds: float = PATIENCE) -> Iterator[bool]:
    """Holds the lock of a directory during a block, and yields whether it could be had.

    Args:
        directory: an existing directory.
        seconds: how long to wait for it.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:  # Windows opens no directories; another writer has removed it
        yield False
        return
    try:
        yield _lock(descriptor, seconds)
    finally:
        os.close(descriptor)  # and with it goes the lock


def _lock(descriptor: int, seconds: float) -> bool:
    """Locks what is open, and returns whether it could be locked in time."""
    end = time.monotonic() + seconds
    while fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.001)
        except OSError:
            return False  # the file system has no locks
    return False


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
