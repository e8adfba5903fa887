"""How fast arrays are encoded and decoded: MB of float32 weights a second of one core.

    python benchmarks/coding.py --json=coding.json

Weights with a codebook of 32 values, and others with none, all or a part of them kept, coded by
`kprune.export` as `kprune.export.save_compressed` does, on one thread. Seconds are the process's
own, so other programs on the machine do not count. gzip's size of the same bytes stands beside.
"""

import time
import zlib
from collections.abc import Callable
from typing import Any

import measuring
import numpy as np
import threadpoolctl
from absl import app, flags

from kprune._support import tables
from kprune.export._compressed import coding

FLAGS = flags.FLAGS
flags.DEFINE_float("megabytes", 20, "of weights", lower_bound=0.1)
flags.DEFINE_list("kept", ["1.0", "0.5", "0.1"], "fractions of the weights that are not zero")
flags.DEFINE_integer("clusters", 32, "values in a codebook", lower_bound=2)
flags.DEFINE_integer("repeats", 9, "of each measurement", lower_bound=1)
flags.DEFINE_string("json", None, "file for the results; none by default")

Array = np.ndarray[Any, Any]


def weights(kept: float, shared: bool) -> Array:
    """Normal weights, those of a codebook as often as the normal distribution has them."""
    generator = np.random.default_rng(0)
    found = generator.standard_normal(int(FLAGS.megabytes * 1e6) // 4, np.float32)
    if shared:
        book = np.linspace(-3.1, 3.1, FLAGS.clusters, dtype=np.float32)
        found = book[np.clip(np.searchsorted(book, found), 0, len(book) - 1)]
    return np.where(generator.random(len(found)) < kept, found, np.float32(0))


def timed(work: Callable[[], Any]) -> list[float]:
    """Seconds of the processor for each repeat; one more before warms up."""
    work()
    seconds = []
    for _ in range(FLAGS.repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return seconds


def rate(array: Array, seconds: list[float]) -> str:
    """Returns "median [quartile, quartile]" in MB a second."""
    low, middle, high = np.percentile(array.nbytes / 1e6 / np.asarray(seconds), [25, 50, 75])
    return f"{middle:.0f} [{low:.0f}, {high:.0f}]"


def main(argv: list[str]) -> None:
    """Measures, prints, saves."""
    if len(argv) > 1:
        raise app.UsageError(f"got {' '.join(argv[1:])}; expected flags alone. Write --help")
    rows, results = [], []
    with threadpoolctl.threadpool_limits(1):
        for kept in map(float, FLAGS.kept):
            for shared in (True, False):
                array = weights(kept, shared)
                encoded = coding.encode(array)
                content = encoded.content
                found = coding.decode(content, array.dtype, array.shape)
                if found.tobytes() != array.tobytes():
                    raise RuntimeError(f"{kept:.0%} kept came back otherwise than it was")
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
                results.append(
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
    measuring.save(FLAGS.json, {"coding": results})


if __name__ == "__main__":
    app.run(main)
