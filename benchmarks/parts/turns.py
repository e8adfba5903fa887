"""Measures two sides in turns: seconds, peaks of memory, and what they return."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from benchmarks.parts.memory import measure_memory

Side = Callable[[], Any]


@dataclasses.dataclass
class Turns:
    """The measurements of two sides; the first of each pair is ours.

    Args:
        seconds: of every run.
        peaks: of the resident memory above that before, in bytes.
        results: of the last run.
    """

    seconds: tuple[list[float], list[float]] = dataclasses.field(default_factory=lambda: ([], []))
    peaks: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0])
    results: list[Any] = dataclasses.field(default_factory=lambda: [None, None])


def take_turns(ours: Side, theirs: Side, repeats: int) -> Turns:
    """Runs two sides in turns, the one that begins another each time.

    The first run of each warms up and is watched for its memory; it is timed too if it is the only
    one.

    Args:
        ours: to run.
        theirs: the same work by the peer.
        repeats: timed runs of each side.
    """
    turns, sides = Turns(), (ours, theirs)
    for repeat in range(repeats + 1):
        for place in ((0, 1), (1, 0))[repeat % 2]:
            if repeat == 0:
                with measure_memory() as memory:
                    turns.results[place] = sides[place]()
                turns.peaks[place] = float(memory.extra)
                if repeats > 1:
                    continue
            start = time.perf_counter()
            turns.results[place] = sides[place]()
            turns.seconds[place].append(time.perf_counter() - start)
    return turns
