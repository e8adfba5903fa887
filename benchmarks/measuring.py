"""What the benchmarks share: medians with their spread, and the peak of the resident memory."""

import contextlib
import ctypes
import gc
import json
import os
import pathlib
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any

import numpy as np


def spread(seconds: Sequence[float]) -> str:
    """Returns "median [quartile, quartile]" in milliseconds."""
    low, middle, high = np.percentile(np.asarray(seconds) * 1e3, [25, 50, 75])
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


class Memory:
    """The resident memory of the process: before a block, and at its peak.

    Linux keeps the peak (`VmHWM`), and starts it anew when 5 is written to `clear_refs`. Where
    that is refused, a thread samples the memory every millisecond instead.
    """

    before: int = 0
    peak: int = 0

    @property
    def extra(self) -> int:
        """Bytes above those before the block."""
        return self.peak - self.before


@contextlib.contextmanager
def memory() -> Iterator[Memory]:
    """Measures the peak of the resident memory during a block.

    What the allocator keeps of memory freed before goes back to the system first: a block that
    used it would seem to need none.
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
    """A field of /proc/self/status, in bytes."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}; this benchmark needs Linux.")


def surroundings() -> dict[str, Any]:
    """Versions and machine, for the record."""
    packages = ["kprune", "tensorflow", "keras", "numpy", "tensorflow-model-optimization"]
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        **{name: metadata.version(name) for name in packages},
    }


def save(path: str | None, results: dict[str, Any]) -> None:
    """Writes results with their surroundings as JSON, where a path is given."""
    if path:
        text = json.dumps({**surroundings(), **results}, indent=2)
        pathlib.Path(path).write_text(text + "\n")


def resumed(
    path: str | None, keys: Sequence[str], measure: Callable[..., dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Returns the rows of some keys; those that a file has are not measured again.

    Args:
        path: a JSON file, written after each row; `None` for none.
        keys: parts of a row's settings, joined by "/".
        measure: from the parts of a key to its row.
    """
    file = pathlib.Path(path) if path else None
    rows: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file and file.exists() else {}
    for key in keys:
        if key not in rows:
            rows[key] = measure(*key.split("/"))
            print(key, rows[key], flush=True)
            if file:
                file.write_text(json.dumps(rows, indent=1))
    return {key: rows[key] for key in keys}
