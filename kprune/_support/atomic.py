"""Moves complete files and directories to their final names: a kill keeps the old or the new.

A file is replaced by `rename`, which is atomic. A directory that is not empty cannot be replaced by
it: on Linux the old and the new one are exchanged by `renameat2`, which is atomic too. Where the
system or the file system has no exchange, the old directory is renamed first, and
`temporaries.remove_abandoned` brings it back if the process is killed before the second rename.
"""

import ctypes
import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path

UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
AT_FDCWD = -100  # of <fcntl.h>: relative paths begin in the working directory
RENAME_EXCHANGE = 2  # of <linux/fs.h>


def replace(source: Path, target: Path, aside: Path) -> None:
    """Gives `target` the content of `source`; where that fails, `target` is as it was.

    Args:
        source: a file or a directory on the same file system, flushed.
        target: a file or directory of the same kind, or a free name.
        aside: a free name where the old directory is kept between two renames.
    """
    if not target.is_dir():
        os.replace(source, target)
    elif not exchange(source, target):
        os.replace(target, aside)
        try:
            os.replace(source, target)
        except BaseException:
            os.replace(aside, target)
            raise
    _flush_entry(target.parent)


def exchange(first: Path, second: Path) -> bool:
    """Exchanges two names in one step; returns False where the file system cannot.

    Raises:
        OSError: it can, but not these names.
    """
    rename = _find_renameat2()
    if rename is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), os.fspath(second))


def flush(path: Path) -> None:
    """Writes a file, or a directory and all below it, from memory to the disk.

    Raises:
        OSError: the disk is full or fails.
    """
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            flush(child)
    if not path.is_symlink():
        _flush_entry(path)


def _flush_entry(path: Path) -> None:
    """Writes a file, or the list of names in a directory, from memory to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return  # Windows opens no directories
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:  # some network file systems flush no directories
            raise
    finally:
        os.close(descriptor)


@functools.cache
def _find_renameat2() -> Callable[..., int] | None:
    """Returns the function of Linux's C library, or None on another system or an old library."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return None
    name, directory = ctypes.c_char_p, ctypes.c_int
    rename.argtypes = [directory, name, directory, name, ctypes.c_uint]
    rename.restype = ctypes.c_int
    found: Callable[..., int] = rename
    return found
