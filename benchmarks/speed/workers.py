"""Measures a mask update by the number of workers of `tf.distribute.MultiWorkerMirroredStrategy`.

    python -m benchmarks.speed.workers --json=workers.json

Workers are processes on this machine that find each other on the loopback device. Each has a
network of 1.9 million weights in the scope of the strategy and updates its masks along a ramp. CPU
seconds are counted, since the workers share the cores of one machine.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_list("workers", ["1", "2", "4"], "how many workers")
flags.DEFINE_integer("updates", 20, "mask updates of each", lower_bound=2)
flags.DEFINE_string("json", None, "file for the results; none by default")
flags.DEFINE_bool("only", False, "be one worker; used internally")


def work() -> list[float]:
    """Updates the masks of this worker's network; returns the CPU seconds of each update."""
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    import keras

    import kprune

    keras.utils.set_random_seed(0)
    with strategy.scope():
        dense = keras.layers.Dense
        model = keras.Sequential([keras.Input((784,)), dense(1024), dense(1024), dense(10)])
        kprune.wrap(model)
    seconds = []
    for update in range(FLAGS.updates):
        start = time.process_time()
        kprune.prune(model, 0.9 * (update + 1) / FLAGS.updates)
        seconds.append(time.process_time() - start)
    return seconds[2:]


def start(index: int, addresses: list[str]) -> "subprocess.Popen[str]":
    """Starts a worker."""
    task = {"type": "worker", "index": index}
    config = json.dumps({"cluster": {"worker": addresses}, "task": task})
    return subprocess.Popen(
        [sys.executable, "-m", __spec__.name, "--only", f"--updates={FLAGS.updates}"],
        env={**os.environ, "TF_CONFIG": config, "CUDA_VISIBLE_DEVICES": "-1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def find_addresses(count: int) -> list[str]:
    """Returns free ports of the loopback device."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return found


def main(_: list[str]) -> None:
    """Measures every number of workers and prints a table."""
    if FLAGS.only:
        print(json.dumps(work()))
        return
    from benchmarks.parts import results
    from kprune._support import tables

    rows: list[list[str]] = []
    found: dict[str, Any] = {}
    for count in FLAGS.workers:
        addresses = find_addresses(int(count))
        running = [start(index, addresses) for index in range(len(addresses))]
        outputs = [process.communicate()[0] for process in running]
        found[count] = [json.loads(output.splitlines()[-1]) for output in outputs]
        medians = [1e3 * statistics.median(seconds) for seconds in found[count]]
        rows.append([count, f"{min(medians):.1f} to {max(medians):.1f}"])
    columns = ["workers", "CPU ms of an update, each worker"]
    print(tables.render("A mask update of 1.9 million weights", columns, rows))
    results.save(FLAGS.json, found)


if __name__ == "__main__":
    app.run(main)
