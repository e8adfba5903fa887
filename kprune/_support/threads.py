"""Runs NumPy code on one thread for each core, with BLAS itself on one thread."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any, TypeVar

import numpy as np
import scipy.linalg  # noqa: F401  (loads the BLAS that `_pools` finds)
import threadpoolctl

A = TypeVar("A")
B = TypeVar("B")

CORES = os.cpu_count() or 1


def map_parallel(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Yields the results of a function for each item, in order, computed on all cores.

    Use it for many matrix products that are each too small for BLAS's own threads. Those wait for
    each other by spinning, so they take many times as long if another program uses one core.

    Args:
        function: calls NumPy and LAPACK, which release the interpreter lock.
        items: as many as there are cores are read ahead of what is yielded.

    Example:
        >>> list(map_parallel(np.sum, [np.ones(2), np.ones(3)]))
        [np.float64(2.0), np.float64(3.0)]
    """
    with _pools().limit(limits=1, user_api="blas"), futures.ThreadPoolExecutor(CORES) as pool:
        pending: list[futures.Future[B]] = []
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > CORES:
                    yield pending.pop(0).result()
            while pending:
                yield pending.pop(0).result()
        finally:
            for future in pending:
                future.cancel()


@functools.cache
def _pools() -> Any:
    """Finds the thread pools of the loaded libraries, which takes a millisecond."""
    np.eye(2) @ np.eye(2)
    return threadpoolctl.ThreadpoolController()
