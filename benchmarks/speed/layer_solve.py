"""Compares the time and memory of layer-wise pruning with the published algorithms in PyTorch.

    pip install torch
    python -m benchmarks.speed.layer_solve --json=layer_solve.json

For layers of 512 to 4096 inputs: the Gram matrix of the inputs, SparseGPT, ExactOBS and masked
least squares, in turns in one process. The peer follows the papers step by step
(`parts/published_solvers.py`) in float32; ours sums and factorizes in float64. The squared error of
the layer is printed beside the time, relative to that of ours; a last line is ExactOBS of a whole
layer of 1024 x 1024 by ours alone.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import threadpoolctl
import torch
from absl import app, flags

from benchmarks.parts import published_solvers, results, spread
from benchmarks.parts.turns import Turns, take_turns
from kprune._second_order.layer_inputs import gram_matrices, readers
from kprune._second_order.solvers import damping, exact_obs, least_squares, sparse_gpt
from kprune._support import tables

FLAGS = flags.FLAGS
flags.DEFINE_list("sizes", ["512", "1024", "2048", "4096"], "inputs of a layer")
flags.DEFINE_integer("outputs", 1024, "outputs of a layer, for SparseGPT and least squares")
flags.DEFINE_integer("samples", 8192, "rows of the Gram matrix")
flags.DEFINE_float("sparsity", 0.8, "fraction of zeros")
flags.DEFINE_integer("repeats", 5, "of each measurement; of ExactOBS one", lower_bound=1)
flags.DEFINE_integer("exact_outputs", 32, "outputs of ExactOBS at 512 inputs; ours", lower_bound=1)
flags.DEFINE_bool("whole", True, "measure ExactOBS of 1024 x 1024 too")
flags.DEFINE_string("json", None, "file for the results; none by default")

BATCH = 1024  # samples that arrive together
Array = np.ndarray[Any, Any]


def layer(size: int) -> tuple[list[Array], Array]:
    """Returns batches of correlated inputs [samples, inputs], and a matrix [inputs, outputs]."""
    generator = np.random.default_rng(size)
    mixing = np.eye(size, dtype=np.float32)
    mixing += 0.3 * generator.standard_normal((size, size), np.float32) / size**0.5
    scale = np.exp(generator.standard_normal(size, np.float32) / 2)
    batches = [
        np.maximum(generator.standard_normal((BATCH, size), np.float32) @ mixing, 0) * scale
        for _ in range(FLAGS.samples // BATCH)
    ]
    return batches, generator.standard_normal((size, FLAGS.outputs), np.float32)


def our_gram(batches: list[Array]) -> Array:
    """Accumulates the inputs of a layer batch by batch, as `observation.observe` does."""
    gram = gram_matrices.Gram("layer", batches[0].shape[1], np.zeros(1, np.int64))
    for batch in batches:
        gram.add(readers.Rows(batch[:, None, None]), np.ones((len(batch), 1)))
        gram.samples += len(batch)
    return gram.hessian(0)


def measure(size: int) -> list[dict[str, Any]]:
    """Measures one size of layer: a result for each method."""
    batches, matrix = layer(size)
    tensors = [torch.from_numpy(each) for each in batches]
    weight = torch.from_numpy(np.ascontiguousarray(matrix.T))
    sparsity, repeats = FLAGS.sparsity, FLAGS.repeats
    measured = []

    def note(method: str, outputs: int, turns: Turns, loss: Callable[[Any, bool], float]) -> None:
        mine, yours = turns.results
        measured.append(
            {
                "inputs": size,
                "method": method,
                "outputs": outputs,
                "seconds": turns.seconds[0],
                "peer_seconds": turns.seconds[1],
                "peak": turns.peaks[0],
                "peer_peak": turns.peaks[1],
                "loss_ratio": loss(yours, False) / loss(mine, True),
            }
        )

    turns = take_turns(lambda: our_gram(batches), lambda: published_solvers.gram(tensors), repeats)
    plain, theirs = turns.results
    note("Gram", 0, turns, lambda h, _: float(np.linalg.norm(h)))
    hessian = damping.add_damping(plain, 0.01)

    def error(after: Any, ours: bool) -> float:
        after = after if ours else after.numpy().T
        return damping.squared_error(plain, matrix[:, : after.shape[1]], after)

    def run() -> Array:
        return sparse_gpt.sweep(sparse_gpt.factor(hessian), matrix, sparsity)[2]

    turns = take_turns(run, lambda: published_solvers.sparse_gpt(theirs, weight, sparsity), repeats)
    note("SparseGPT", FLAGS.outputs, turns, error)

    keep = np.argsort(np.argsort(np.abs(matrix), axis=None)).reshape(matrix.shape)
    keep = keep >= sparsity * matrix.size
    mask = torch.from_numpy(np.ascontiguousarray(keep.T))

    def solve() -> Array:
        return least_squares.solve(hessian, matrix, keep)

    turns = take_turns(
        solve, lambda: published_solvers.least_squares(theirs, weight, mask), repeats
    )
    note("least squares", FLAGS.outputs, turns, error)

    few = max(1, FLAGS.exact_outputs * 512**2 // size**2)  # the peer holds so many inverses
    some, same = matrix[:, :few], weight[:few]
    turns = take_turns(
        lambda: exact_obs.compute_costs(hessian, some),
        lambda: published_solvers.exact_obs(theirs, same),
        1,
    )

    def pruned(costs: Any, ours: bool) -> float:
        costs = costs if ours else costs.numpy().T
        left = (
            np.argsort(np.argsort(costs, axis=None)).reshape(costs.shape) >= sparsity * costs.size
        )
        return damping.squared_error(plain, some, least_squares.solve(hessian, some, left))

    note("ExactOBS", few, turns, pruned)
    return measured


def milliseconds(seconds: list[float]) -> str:
    """Formats the median and the quartiles of measurements in milliseconds."""
    return spread.format_quartiles([1e3 * each for each in seconds], 0)


def row(result: dict[str, Any]) -> list[str]:
    """Formats a line of the table."""
    faster = np.median(result["peer_seconds"]) / np.median(result["seconds"])
    return [
        result["method"],
        str(result["inputs"]),
        milliseconds(result["seconds"]),
        milliseconds(result["peer_seconds"]),
        f"{faster:.2f}x",
        f"{result['peak'] / 2**20:.0f}",
        f"{result['peer_peak'] / 2**20:.0f}",
        f"{result['loss_ratio']:.3f}",
    ]


def table(measured: list[dict[str, Any]], blas: list[str]) -> str:
    """Formats the measurements, a line each."""
    names = ["method", "inputs", "kprune ms", "PyTorch ms", "faster", "MiB", "MiB", "loss"]
    exact = [r["outputs"] for r in measured if r["method"] == "ExactOBS"]
    footer = (
        f"outputs: {FLAGS.outputs}; of ExactOBS {', '.join(map(str, exact))}, as the peer holds an "
        "inverse for each\n"
        "ms: median [quartiles], in turns; MiB: peak of memory, kprune's and PyTorch's\n"
        f"loss: squared error of the layer at {FLAGS.sparsity:.0%}, PyTorch's / kprune's; of Gram: "
        f"norm\nBLAS: {', '.join(blas)}; PyTorch {torch.__version__}, {torch.get_num_threads()} "
        "threads"
    )
    title = "Layer-wise pruning, and the published algorithms in PyTorch"
    lines = [row(each) for each in sorted(measured, key=lambda each: each["method"])]
    return tables.render(title, names, lines, footer)


def main(_: list[str]) -> None:
    """Measures every size and prints a table."""
    measured = [result for size in FLAGS.sizes for result in measure(int(size))]
    pools = [each for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]
    blas = sorted({f"{p['internal_api']} {p['version']} {p.get('architecture')}" for p in pools})
    print(table(measured, blas), flush=True)
    if FLAGS.whole:
        FLAGS.outputs = 1024
        batches, matrix = layer(1024)
        hessian = damping.add_damping(our_gram(batches), 0.01)
        start = time.perf_counter()
        exact_obs.compute_costs(hessian, matrix)
        seconds = time.perf_counter() - start
        print(f"ExactOBS of 1024 x 1024, all columns, by kprune: {seconds:.1f} s")
        measured.append({"whole_seconds": seconds})
    results.save(FLAGS.json, {"results": measured, "blas": blas})


if __name__ == "__main__":
    app.run(main)
