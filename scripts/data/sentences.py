"""Reads labelled sentences from the files of SST-2, or takes the bundled reviews."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import reviews, text_files

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Sentences:
    """Sentences, each with its class.

    Args:
        texts: as they are written.
        labels: 0 is negative, 1 is positive; [n].
    """

    texts: Sequence[str]
    labels: Array

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Array) -> "Sentences":
        """Returns some of them, in the order of the indices."""
        return Sentences([self.texts[index] for index in indices], self.labels[indices])


@dataclasses.dataclass(frozen=True)
class Splits:
    """Sentences for training, for development, and for testing."""

    train: Sentences
    dev: Sentences
    test: Sentences


def load(data_dir: str | None) -> Splits:
    """Loads train, dev and test.

    Args:
        data_dir: folder with train, dev and test, each `.tsv`, `.tsv.xz` or `.tsv.gz`. Default:
            the bundled reviews.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not of two columns, sentence and label.

    Example:
        >>> len(load(None).train)
        1500
    """
    if data_dir is None:
        return Splits(*(Sentences(*each) for each in reviews.splits()))
    return Splits(*(read(data_dir, name) for name in ("train", "dev", "test")))


def read(directory: str | Path, split: str) -> Sentences:
    """Reads tab-separated sentences and labels, the first line a heading.

    Args:
        directory: where `SPLIT.tsv` is, plain, gzip or xz.
        split: its name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the columns are others, or a label is neither 0 nor 1.

    Example:
        >>> read("sst2", "test").texts[0]
        "it 's a charming and often affecting journey . "
    """
    path = Path(directory, f"{split}.tsv")
    advice = "train, dev and test. Write --data_dir=DIR with the folder of SST-2"
    text = io.StringIO(text_files.read(directory, path.name, advice))
    lines = list(csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not lines or lines[0] != ["sentence", "label"]:
        raise ValueError(
            f"{path} begins with {lines[0] if lines else 'nothing'}; expected the heading "
            "sentence<TAB>label of SST-2"
        )
    for number, line in enumerate(lines[1:], 2):
        if len(line) != 2 or line[1] not in ("0", "1"):
            raise ValueError(
                f"{path}, line {number} is {line}; expected a sentence, a tab, and 0 or 1"
            )
    texts, labels = zip(*lines[1:], strict=True)
    return Sentences(texts, np.array(labels, "int32"))


def select(found: Sentences, count: int, seed: int, words: tuple[int, int] = (1, 999)) -> Sentences:
    """Returns some sentences at random, of so many words.

    Use it where time is short: most of SST-2's training phrases are parts of one sentence, and
    the shortest of them say little.

    Args:
        found: the sentences.
        count: how many to return, at most.
        seed: of the choice.
        words: the fewest and the most, split at spaces.
    """
    lengths = np.array([len(text.split()) for text in found.texts])
    fitting = np.flatnonzero((lengths >= words[0]) & (lengths <= words[1]))
    return found.take(np.random.default_rng(seed).permutation(fitting)[:count])
