"""Reads or makes sentence pairs, and converts them to batches of word ids."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from data import number_words, text_files

Array = np.ndarray[Any, Any]

TOKEN = re.compile(r"\w+|[^\w\s]")
NO_SPACE_BEFORE = re.compile(r" (?=[.,;:!?)%'’/-])")
NO_SPACE_AFTER = re.compile(r"(?<=[('’/-]) ")
START, END = "[START]", "[END]"
SPLITS = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
ADVICE = (
    f"{', '.join(SPLITS.values())}, each .en and .de. Write --data_dir=FOLDER_OF_MULTI30K, or "
    "leave it out for numbers in words."
)
NUMBERS = {"train": 4000, "validation": 500, "test": 500}


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Sentences and their translations, in lower case: `target[i]` translates `source[i]`."""

    source: list[str]
    target: list[str]

    def short(self, words: int) -> "Pairs":
        """Returns the pairs of which neither side has more tokens."""
        kept = [
            (source, target)
            for source, target in zip(self.source, self.target, strict=True)
            if max(len(TOKEN.findall(source)), len(TOKEN.findall(target))) <= words
        ]
        return Pairs([source for source, _ in kept], [target for _, target in kept])


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Sentence pairs for training, validation and testing."""

    title: str
    train: Pairs
    validation: Pairs
    test: Pairs


def numbers(seed: int = 0) -> Corpus:
    """Returns numbers in words, English and German, no number in two of the splits.

    Args:
        seed: of the draw.

    Example:
        >>> numbers().test.target[0]
        'fünf hundert zwei und fünf zig tausend vier hundert neun und sech zig'
    """
    drawn = np.random.default_rng(seed).choice(
        number_words.BELOW, sum(NUMBERS.values()), replace=False
    )
    parts = np.split(drawn, np.cumsum(list(NUMBERS.values()))[:-1])
    splits = {
        name: Pairs(
            [number_words.english(int(each)) for each in part],
            [number_words.german(int(each)) for each in part],
        )
        for name, part in zip(NUMBERS, parts, strict=True)
    }
    return Corpus("numbers in words", **splits)


def read(data_dir: str) -> Corpus:
    """Reads Multi30k, English to German.

    Args:
        data_dir: folder with `train`, `val` and `test_2016_flickr`, each `.en` and `.de`,
            plain, gzip or xz.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the two files of a split differ in length.
    """
    splits = {}
    for name, stem in SPLITS.items():
        source, target = (
            text_files.read(data_dir, f"{stem}.{each}", ADVICE).lower().splitlines()
            for each in ("en", "de")
        )
        if len(source) != len(target):
            raise ValueError(
                f"{stem}.en in {data_dir} has {len(source)} lines and {stem}.de has "
                f"{len(target)}; expected as many, each the translation of the other. "
                "Unpack the data set anew."
            )
        splits[name] = Pairs(source, target)
    return Corpus("Multi30k", **splits)


def tokenise(text: str) -> str:
    """Returns a text's words and punctuation marks, each apart, in lower case.

    Example:
        >>> tokenise("A T-shirt, blue.")
        'a t - shirt , blue .'
    """
    return " ".join(TOKEN.findall(text.lower()))


def detokenise(tokens: str) -> str:
    """Returns the text that tokens make: what `tokenise` takes apart, but for free dashes.

    Example:
        >>> detokenise("a t - shirt , blue .")
        'a t-shirt, blue.'
    """
    return NO_SPACE_AFTER.sub("", NO_SPACE_BEFORE.sub("", tokens))


class Vocabulary:
    """The most frequent words of a language and their ids: 0 pads, 1 is any other word.

    Args:
        texts: to count words in.
        words: how many ids there are at most.

    Example:
        >>> vocabulary = Vocabulary(["a dog .", "a cat ."], 100)
        >>> vocabulary.decode(vocabulary.encode(["a dog."]))
        ['a dog.']
    """

    def __init__(self, texts: Sequence[str], words: int) -> None:
        self._ids = keras.layers.TextVectorization(words, standardize=None, split="whitespace")
        self._ids.adapt(_marked(texts))
        self.words = np.array(self._ids.get_vocabulary())
        self.start, self.end = (int(np.flatnonzero(self.words == each)[0]) for each in (START, END))

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, texts: Sequence[str]) -> Array:
        """Returns ids [text, position], each text between its start and its end, then zeros."""
        return np.asarray(self._ids(tf.constant(_marked(texts))), np.int32)

    def decode(self, ids: Array) -> list[str]:
        """Returns texts, without start, end and padding."""
        words = np.where(ids > 0, self.words[ids], "")
        words[np.isin(ids, (self.start, self.end))] = ""
        return [detokenise(" ".join(row[row != ""])) for row in words]


def _marked(texts: Sequence[str]) -> list[str]:
    return [f"{START} {tokenise(each)} {END}" for each in texts]


def batches(source: Array, target: Array, size: int, seed: int | None = None) -> tf.data.Dataset:
    """Returns batches of pairs of about the same length, which are padded no further.

    A batch is what `fit` takes: (source and target but its last word), the target from its second
    word on, and a weight for each word, 0 where there is none.

    Args:
        source: ids [pair, position].
        target: ids [pair, position].
        size: pairs in a batch, at most.
        seed: of the order, another in every pass. Default: the order of length, for evaluation.
    """
    lengths = np.count_nonzero(source, axis=1) + np.count_nonzero(target, axis=1)
    count = -(-len(source) // size)
    generator = np.random.default_rng(seed)

    def passing() -> Iterator[tuple[tuple[Array, Array], Array, Array]]:
        near = generator.random(len(source)) * 2 if seed is not None else np.zeros(len(source))
        parts = np.array_split(np.argsort(lengths + near, kind="stable"), count)
        for part in generator.permutation(count) if seed is not None else range(count):
            x, y = _trimmed(source[parts[part]]), _trimmed(target[parts[part]])
            yield (x, y[:, :-1]), y[:, 1:], (y[:, 1:] > 0).astype(np.float32)

    words = tf.TensorSpec((None, None), tf.int32)
    signature = ((words, words), words, tf.TensorSpec((None, None), tf.float32))
    found = tf.data.Dataset.from_generator(passing, output_signature=signature)
    return found.apply(tf.data.experimental.assert_cardinality(count)).prefetch(2)


def _trimmed(ids: Array) -> Array:
    return ids[:, : np.count_nonzero(ids, axis=1).max()]
