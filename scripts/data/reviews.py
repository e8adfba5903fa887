"""Makes short reviews from templates: a small data set that is learned in a minute.

A review is positive or negative, and some negate the word: "the plot is never boring" is positive.
Neither the word nor the negation alone determines the class. People did not write them: an accuracy
on them shows that a program works, not how well it does on real reviews.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

SIZES = 1500, 250, 250  # train, dev, test

GOOD = "clever", "moving", "funny", "gripping", "tender", "bold", "graceful", "thrilling", "warm"
BAD = "dull", "clumsy", "boring", "noisy", "shallow", "stale", "tedious", "cheap", "hollow"
PARTS = (
    *("plot", "script", "cast", "ending", "score", "story", "opening", "dialogue", "pace"),
    *("scenery", "villain", "hero", "premise", "sequel", "soundtrack", "humour", "final act"),
)
PLAIN = (
    "the {part} is {word}",
    "the {part} feels {word} from the first minute",
    "a {word} {part} carries it",
    "you will remember the {word} {part}",
    "we found the {part} {word} , and so did everyone around us",
    "with a {part} this {word} , the evening was decided",
)
TURNED = (
    "the {part} is never {word}",
    "the {part} does not feel {word} at all",
    "nobody could call the {part} {word}",
)

Labelled = tuple[Sequence[str], np.ndarray[Any, Any]]


def every() -> list[tuple[str, int]]:
    """Returns every review with its class, each once."""
    return [
        (template.format(part=part, word=word), int(praise != turned))
        for turned, templates in ((False, PLAIN), (True, TURNED))
        for praise, words in ((True, GOOD), (False, BAD))
        for template, part, word in itertools.product(templates, PARTS, words)
    ]


def splits() -> tuple[Labelled, Labelled, Labelled]:
    """Returns train, dev and test, no review in two of them; the same whenever it is called.

    Example:
        >>> train, dev, test = splits()
        >>> len(train[0]), float(train[1].mean().round(1))
        (1500, 0.5)
    """
    found = every()
    order = np.random.default_rng(0).permutation(len(found))
    ends = np.cumsum(SIZES)
    parts = np.split(order[: ends[-1]], ends[:-1])
    train, dev, test = (
        ([found[i][0] for i in part], np.array([found[i][1] for i in part], "int32"))
        for part in parts
    )
    return train, dev, test
