"""Measures how fast arrays are encoded and decoded, in MB of float32 weights a second.

    python -m benchmarks.speed.coding --json=coding.json

Weights with a codebook of 32 values, and others with none, all or a part of them kept, coded by
`kprune.export` as `kprune.export.save_compressed` does, on one thread. Seconds are the process's
own, so other programs on the machine do not count. The table has gzip's size too.
"""

import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import threadpoolctl
from absl import app, flags

from benchmarks.parts import results, spread
from kprune._support import tables
from kprune.export._compressed import coding
from options import checks

FLAGS = flags.FLAGS
flags.DEFINE_float("megabytes", 20, "of weights", lower_bound=0.1)
flags.DEFINE_list("kept", ["1.0", "0.5", "0.1"], "fractions of the weights that are not zero")
flags.DEFINE_integer("clusters", 32, "values in a codebook", lower_bound=2)
flags.DEFINE_integer("repeats", 9, "of each measurement", lower_bound=1)
flags.DEFINE_string("json", None, "file for the results; none by default")

Array = np.ndarray[Any, Any]


def weights(kept: float, shared: bool) -> Array:
    """Returns normal weights, rounded to the values of a codebook if `shared`."""
    generator = np.random.default_rng(0)
    found = generator.standard_normal(int(FLAGS.megabytes * 1e6) // 4, np.float32)
    if shared:
        book = np.linspace(-3.1, 3.1, FLAGS.clusters, dtype=np.float32)
        found = book[np.clip(np.searchsorted(book, found), 0, len(book) - 1)]
    return np.where(generator.random(len(found)) < kept, found, np.float32(0))


def timed(work: Callable[[], Any]) -> list[float]:
    """Returns the CPU seconds of each repeat, after one that warms up."""
    work()
    seconds = []
    for _ in range(FLAGS.repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return seconds


def rate(array: Array, seconds: list[float]) -> str:
    """Returns "median [quartile, quartile]" in MB a second."""
    return spread.format_quartiles(list(array.nbytes / 1e6 / np.asarray(seconds)), 0)


def main(argv: list[str]) -> None:
    """Measures, prints, saves."""
    checks.flags_alone(argv)
    rows, measured = [], []
    with threadpoolctl.threadpool_limits(1):
        for kept in map(float, FLAGS.kept):
            for shared in (True, False):
                array = weights(kept, shared)
                encoded = coding.encode(array)
                content = encoded.content
                found = coding.decode(content, array.dtype, array.shape)
                if found.tobytes() != array.tobytes():
                    raise RuntimeError(f"{kept:.0%} kept are decoded to other values")
                encoding = timed(lambda array=array: coding.encode(array))
                decoding = timed(
                    lambda content=content, size=array.size: coding.decode(content, "f4", (size,))
                )
                gzip = len(zlib.compress(array.tobytes(), 9))
                values = f"{FLAGS.clusters}" if shared else "all"
                rows.append(
                    [
                        f"{kept:.0%}",
                        values,
                        encoded.form,
                        rate(array, encoding),
                        rate(array, decoding),
                        f"{array.nbytes / len(content):.2f}x",
                        f"{array.nbytes / gzip:.2f}x",
                    ]
                )
                measured.append(
                    {
                        "kept": kept,
                        "values": values,
                        "form": encoded.form,
                        "encoding_seconds": encoding,
                        "decoding_seconds": decoding,
                        "bytes": [array.nbytes, len(content), gzip],
                    }
                )
    title = (
        f"{FLAGS.megabytes:g} MB of float32 weights, MB a second of one core: median [quartiles]"
    )
    columns = ["kept", "values", "form", "encoding", "decoding", "smaller", "gzip -9"]
    print(tables.render(title, columns, rows))
    results.save(FLAGS.json, {"coding": measured})


if __name__ == "__main__":
    app.run(main)
