"""Work side by side: a thread on each core, and BLAS itself on one."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any, TypeVar

import numpy as np
import scipy.linalg  # noqa: F401  (its BLAS is to be found)
import threadpoolctl

A = TypeVar("A")
B = TypeVar("B")

CORES = os.cpu_count() or 1


def map_parallel(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Yields what a function makes of each item, in order, as many at once as there are cores.

    Use it for products of matrices too small to share out. BLAS's own threads wait for each other
    by spinning: where another program has one of the cores, they take many times as long.

    Args:
        function: NumPy and LAPACK, which let other threads run meanwhile.
        items: read some ahead of what is yielded.

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
    """The thread pools of the libraries that are loaded; to find them takes a millisecond."""
    np.eye(2) @ np.eye(2)
    return threadpoolctl.ThreadpoolController()
