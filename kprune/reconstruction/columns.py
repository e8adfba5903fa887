"""Columns side by side: each thread takes some, with BLAS itself on one thread."""

import os
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Any

import numpy as np
import threadpoolctl

from kprune import progress

Array = np.ndarray[Any, Any]


def side_by_side(function: Callable[[Array], None], parts: Iterable[Array], what: str) -> None:
    """Calls a function with each part of the columns, on every core at once.

    The work on a column is many small products, of which BLAS makes little use of more than one
    core; whole columns do.

    Args:
        function: works on the columns of these indices, and writes its own results.
        parts: indices of columns.
        what: shown in front of the progress bar.
    """
    parts = list(parts)
    with (
        threadpoolctl.threadpool_limits(1, user_api="blas"),
        futures.ThreadPoolExecutor(os.cpu_count()) as pool,
        progress.bar(what, sum(map(len, parts))) as bar,
    ):
        pending = {pool.submit(function, part): len(part) for part in parts}
        try:
            for done in futures.as_completed(pending):
                done.result()
                bar.advance(pending[done])
        except BaseException:
            for each in pending:
                each.cancel()
            raise
