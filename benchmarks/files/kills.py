"""Kills writers at random moments, and counts what is at their path afterwards.

    python -m benchmarks.files.kills --kills=2500

A process rewrites a file, or a directory of three files, as fast as it can, and is killed (SIGKILL)
after a random time. Then the path must hold the old or the new content, whole. It is counted
whether it does, whether the next call for the path mends it, and what is left after that call.
"""

import os
import pathlib
import random
import signal
import tempfile
import time

from absl import app, flags

from benchmarks.parts import results
from kprune._support import atomic, files, tables

FLAGS = flags.FLAGS
flags.DEFINE_integer("kills", 2500, "of each kind of writer")
flags.DEFINE_float("longest", 0.02, "seconds before a kill")
flags.DEFINE_string("json", None, "file for the results; none by default")

MARKER = "saved_model.pb"
FILE_BYTES, PART_BYTES = 200_000, 20_000
PARTS = (MARKER, "variables.data", "fingerprint.pb")
KINDS = ("file", "directory", "directory, two renames")


def main(_: list[str]) -> None:
    """Kills writers of every kind, and prints the counts."""
    counts = {}
    for kind in KINDS:
        if kind == KINDS[-1]:
            atomic.exchange = lambda first, second: False  # as where the file system has none
        counts[kind] = try_kills(kind != "file")
    columns = ["killed while writing", "kills", "whole", "missing, then mended", "lost", "left"]
    rows = [[kind, *(f"{count:,}" for count in found)] for kind, found in counts.items()]
    print(tables.render("kills", columns, rows, results.format_surroundings()))
    results.save(FLAGS.json, counts)


def try_kills(is_directory: bool) -> tuple[int, int, int, int, int]:
    """Returns how many kills there were, and what they left: whole, mended, lost, leftovers."""
    chance = random.Random(0)
    whole = mended = lost = left = 0
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "out")
        write(path, is_directory, 0)
        for _ in range(FLAGS.kills):
            kill_writer(path, is_directory, chance.uniform(0.001, FLAGS.longest))
            is_whole = is_complete(path)
            write_nothing(path, is_directory)
            whole += is_whole
            mended += not is_whole and is_complete(path)
            lost += not is_complete(path)
            left += len(os.listdir(directory)) - 1
            if not is_complete(path):
                write(path, is_directory, 0)
    return FLAGS.kills, whole, mended, lost, left


def kill_writer(path: pathlib.Path, is_directory: bool, seconds: float) -> None:
    """Starts a process that rewrites a path, and kills it after some seconds."""
    pid = os.fork()
    if not pid:
        for value in range(10**9):
            write(path, is_directory, value % 251)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def write(path: pathlib.Path, is_directory: bool, value: int) -> None:
    """Writes a file, or a directory, that holds one byte over and over."""
    with files.replacing(path, MARKER if is_directory else None) as temporary:
        if not is_directory:
            temporary.write_bytes(bytes([value]) * FILE_BYTES)
            return
        temporary.mkdir()
        for name in PARTS:
            (temporary / name).write_bytes(bytes([value]) * PART_BYTES)


def write_nothing(path: pathlib.Path, is_directory: bool) -> None:
    """Begins to write and gives up: the next call, which mends, without its own content."""
    try:
        with files.replacing(path, MARKER if is_directory else None):
            pass
    except FileNotFoundError:
        pass


def is_complete(path: pathlib.Path) -> bool:
    """Returns whether a path holds one byte over and over, in all its files."""
    if path.is_file():
        content, size = path.read_bytes(), FILE_BYTES
    elif path.is_dir() and sorted(os.listdir(path)) == sorted(PARTS):
        content = b"".join((path / name).read_bytes() for name in PARTS)
        size = PART_BYTES * len(PARTS)
    else:
        return False
    return len(content) == size and len(set(content)) == 1


if __name__ == "__main__":
    app.run(main)
