"""Reads a text for a language model, numbers its words, and splits it into streams."""

import collections
import dataclasses
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import keras
import numpy as np

from data import text_files

Array = np.ndarray[Any, Any]

END, UNKNOWN = "<eos>", "<unk>"
PAD = -1  # a target that counts for nothing
SPLITS = ("train", "valid", "test")
TOKEN, NUMBER = re.compile(r"\w+|[^\w\s]"), re.compile(r"\d+(\.\d+)*")
PROSE = 4  # words in a line; what has fewer is a rule or a row of a table


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A text in three parts, as numbers of words.

    Args:
        title: what it is.
        vocabulary: the words, `<unk>` first, then the most frequent ones of the training part.
        train: int32 [tokens], each line ended by `<eos>`.
        valid: the same, to choose by.
        test: the same, to report.
    """

    title: str
    vocabulary: list[str]
    train: Array
    valid: Array
    test: Array

    @property
    def end(self) -> int:
        """The number of `<eos>`, which a text begins after."""
        return self.vocabulary.index(END)


@dataclasses.dataclass(frozen=True)
class Windows:
    """A text cut into parallel streams, and these into windows that follow each other.

    Args:
        inputs: int32 [windows, streams, steps], the word before each target.
        targets: int32 [windows, streams, steps]; each token of the text once, and `PAD`.
    """

    inputs: Array
    targets: Array

    @property
    def tokens(self) -> int:
        """How many targets count."""
        return int(np.count_nonzero(self.targets != PAD))


def windows(tokens: Array, end: int, streams: int, steps: int) -> Windows:
    """Cuts a text for truncated back-propagation: row r of a window goes on in the next one.

    Args:
        tokens: int32 [tokens].
        end: what stands before the first token.
        streams: how many places of the text are read at a time.
        steps: words of a stream in a window.

    Example:
        >>> windows(np.array([5, 6, 7, 8]), 0, streams=2, steps=2).inputs.tolist()
        [[[0, 5], [6, 7]]]
    """
    length = -(-len(tokens) // streams)  # of a stream
    count = -(-length // steps)

    def cut(values: Array, pad: int) -> Array:
        whole = np.pad(values, (0, length * streams - len(values)), constant_values=pad)
        rows = whole.reshape(streams, length)
        rows = np.pad(rows, ((0, 0), (0, count * steps - length)), constant_values=pad)
        return rows.reshape(streams, count, steps).swapaxes(0, 1).astype(np.int32)

    before = np.concatenate([[end], tokens[:-1]])
    return Windows(cut(before, end), cut(tokens, PAD))


def load(data_dir: str | None) -> Corpus:
    """Returns a folder's corpus, or the small one that comes with scikit-learn.

    Args:
        data_dir: folder with `ptb.train.txt`, `ptb.valid.txt` and `ptb.test.txt`, plain, .gz or
            .xz; a sentence a line. Default: the descriptions of scikit-learn's data sets.

    Raises:
        FileNotFoundError: a part is missing.
    """
    if data_dir is None:
        return _numbered("descriptions of data sets", _descriptions(), least=2)
    names = [f"ptb.{split}.txt" for split in SPLITS]
    advice = (
        f"all of {', '.join(names)}. Write --data_dir=DIR with the folder that has them, or leave "
        "it out for a small bundled text."
    )
    lines = [text_files.read(data_dir, name, advice).splitlines() for name in names]
    return _numbered("Penn Treebank", lines)


def _numbered(title: str, parts: Sequence[list[str]], least: int = 1) -> Corpus:
    """Numbers words by their frequency in the training part; rarer than `least` is unknown."""
    split = [f" {END} ".join([*lines, ""]).split() for lines in parts]
    counts = collections.Counter(split[0])
    words = [word for word, count in counts.most_common() if count >= least and word != UNKNOWN]
    lookup = keras.layers.StringLookup(vocabulary=words, oov_token=UNKNOWN, output_mode="int")
    numbers = (np.asarray(lookup(np.array(each)), np.int32) for each in split)
    return Corpus(title, [UNKNOWN, *words], *numbers)


def _descriptions() -> list[list[str]]:
    """The prose of descriptions of data sets; of ten lines, one is valid and one is test.

    As in Penn Treebank, words are in lower case, and numbers are N.
    """
    folder = resources.files("sklearn.datasets") / "descr"
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".rst")), key=str)
    text = "\n".join(each.read_text(encoding="utf-8") for each in files).lower()
    split = [TOKEN.findall(NUMBER.sub("N", line)) for line in text.splitlines()]
    lines = [" ".join(words) for words in split if sum(map(str.isalpha, words)) >= PROSE]
    train = [line for index, line in enumerate(lines) if index % 10 < 8]
    return [train, lines[8::10], lines[9::10]]
