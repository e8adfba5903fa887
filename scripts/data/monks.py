"""Reads the MONK's problems, encodes their 17 inputs, and builds networks that learn them.

Robots have six attributes; each problem is a rule that some of the 432 robots satisfy. The test
file holds all of them, and the training file a part; in that of the third problem six labels are
wrong on purpose.

Reference:
    Thrun et al., The MONK's Problems: A Performance Comparison of Different Learning Algorithms,
    1991.
"""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np

Array = np.ndarray[Any, Any]
Labelled = tuple[Array, Array]

ATTRIBUTES = (3, 3, 2, 3, 4, 2)  # how many values a1 to a6 have, counted from 1
INPUTS = sum(ATTRIBUTES)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem, the network for it, and what the paper on Optimal Brain Surgeon reports.

    Args:
        name: how its files begin.
        hidden: units of the hidden layer; the network has `19 * hidden + 1` weights.
        decay: of the weights in training, `mean (o - t)^2 + decay * |w|^2`. More of it where labels
            are wrong, so that the network does not learn these.
        paper_left: weights that the paper leaves, biases counted.
        paper_train: the paper's accuracy on the training file, in per cent.
        paper_test: its accuracy on the test file, in per cent.
    """

    name: str
    hidden: int
    decay: float
    paper_left: int
    paper_train: float
    paper_test: float

    @property
    def weights(self) -> int:
        """How many weights the network has before pruning."""
        return (INPUTS + 2) * self.hidden + 1


PROBLEMS = {
    "monks-1": Problem("monks-1", 3, 3e-4, 14, 100.0, 100.0),
    "monks-2": Problem("monks-2", 2, 3e-4, 15, 100.0, 100.0),
    "monks-3": Problem("monks-3", 2, 2e-3, 4, 93.4, 97.2),
}


@dataclasses.dataclass(frozen=True)
class Robots:
    """The two files of a problem.

    Args:
        train: float32 inputs [n, 17] of zeros and ones, and float32 labels [n, 1], 0 or 1.
        test: the same.
    """

    train: Labelled
    test: Labelled


def load(data_dir: str | Path, name: str) -> Robots:
    """Reads a problem.

    Args:
        data_dir: where `monks-1.train`, `monks-1.test` and those of the others are.
        name: how the files begin.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file does not hold what it should.

    Example:
        >>> load("monks", "monks-1").train[0].shape
        (124, 17)
    """
    parts = []
    for part in ("train", "test"):
        path = Path(data_dir, f"{name}.{part}")
        if not path.is_file():
            raise FileNotFoundError(
                f"{data_dir} has no file {path.name}; expected the folder with monks-1.train, "
                "monks-1.test and those of the other problems. Write --data_dir=DIR with the "
                "folder into which the MONK's Problems of the UCI repository were unpacked."
            )
        labels, attributes = read(path)
        parts.append((one_hot(attributes), labels[:, None].astype(np.float32)))
    return Robots(*parts)


def read(path: str | Path) -> tuple[Array, Array]:
    """Reads one file.

    Args:
        path: a line for each robot: its class, its six attributes and its name.

    Returns:
        The classes [n], 0 or 1, and the attributes [n, 6], counted from 1.

    Raises:
        ValueError: a line is not of this form, or there is none.
    """
    rows = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        fields = line.split()[: 1 + len(ATTRIBUTES)]
        if not fields:
            continue
        if not _is_robot(fields):
            raise ValueError(
                f"{path}, line {number}: got {line.strip()!r}; expected a class of 0 or 1 and six "
                "attributes of 1 to 3, 3, 2, 3, 4 and 2, such as '1 1 1 1 1 3 1 data_5'. Download "
                "the file again."
            )
        rows.append([int(field) for field in fields])
    if not rows:
        raise ValueError(f"{path} has no robots; expected a line for each. Download it again.")
    table = np.array(rows)
    return table[:, 0], table[:, 1:]


def one_hot(attributes: Array) -> Array:
    """Returns 17 inputs of zeros and ones, one for each value of each attribute.

    Args:
        attributes: [n, 6], counted from 1.

    Example:
        >>> one_hot(np.array([[1, 3, 2, 1, 4, 1]])).astype(int).tolist()
        [[1, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0]]
    """
    parts = [
        attributes[:, [place]] == np.arange(1, 1 + values)
        for place, values in enumerate(ATTRIBUTES)
    ]
    return np.concatenate(parts, 1).astype(np.float32)


def network(hidden: int, seed: int) -> keras.Model:
    """Returns a network of sigmoid units, 17 inputs and one output, untrained.

    Args:
        hidden: units of its hidden layer.
        seed: of the weights, biases as well, which are normal with a standard deviation of 0.5.
    """
    start = keras.initializers.RandomNormal(stddev=0.5, seed=keras.random.SeedGenerator(seed))
    model = keras.Sequential(
        [
            keras.Input((INPUTS,)),
            *(
                keras.layers.Dense(
                    units, "sigmoid", kernel_initializer=start, bias_initializer=start, name=name
                )
                for name, units in (("hidden", hidden), ("output", 1))
            ),
        ],
        name="monks",
    )
    model.compile("sgd", "mean_squared_error")  # the optimizer is never asked
    return model


def _is_robot(fields: list[str]) -> bool:
    ranges = [range(2), *(range(1, 1 + values) for values in ATTRIBUTES)]
    return len(fields) == len(ranges) and all(
        field.isdecimal() and int(field) in allowed
        for field, allowed in zip(fields, ranges, strict=True)
    )
