"""Measures the peak of the resident memory during a block."""

import contextlib
import ctypes
import gc
import pathlib
import threading
import time
from collections.abc import Iterator


class Memory:
    """The resident memory of the process before a block, and its peak in the block, in bytes.

    Linux keeps the peak (`VmHWM`), and resets it when 5 is written to `clear_refs`. If that is not
    allowed, a thread samples the memory every millisecond instead.
    """

    before: int = 0
    peak: int = 0

    @property
    def extra(self) -> int:
        """Bytes above those before the block."""
        return self.peak - self.before


@contextlib.contextmanager
def measure_memory() -> Iterator[Memory]:
    """Measures the peak of the resident memory during a block.

    Freed memory that the allocator still holds goes back to the system first: a block that reused
    it would seem to need none.

    Example:
        >>> with measure_memory() as memory:
        ...     kprune.prune(model, 0.9)
        >>> memory.extra
        1048576
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    result = Memory()
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        resettable = True
    except OSError:
        resettable = False
    result.before = _status("VmRSS")
    if resettable:
        yield result
        result.peak = _status("VmHWM")
        return
    done = threading.Event()

    def sample() -> None:
        while not done.is_set():
            result.peak = max(result.peak, _status("VmRSS"))
            time.sleep(0.001)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield result
    finally:
        done.set()
        sampler.join()


def _status(field: str) -> int:
    """Returns a field of /proc/self/status, in bytes."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}; this benchmark needs Linux.")
