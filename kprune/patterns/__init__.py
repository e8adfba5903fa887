"""Groups weights into pieces that are pruned together.

A pattern reads a kernel as a matrix [input, output], whatever its rank (`MatrixView`), and turns
the scores of weights into scores of pieces, which then compete like the scores of single weights.
If a pattern does not divide the shape, the last piece is smaller; nothing is padded.
"""

import re
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from kprune._support import registration, signatures
from kprune.patterns.blocks import Block, Channel
from kprune.patterns.matrix_view import MatrixView
from kprune.patterns.n_of_m import NM
from kprune.patterns.pattern import Pattern
from kprune.patterns.unstructured import Unstructured

__all__ = [
    "MEMBERS",
    "NM",
    "Block",
    "Channel",
    "MatrixView",
    "Pattern",
    "PatternName",
    "Unstructured",
    "get",
]

PatternName: TypeAlias = (
    Literal["unstructured", "channel", "tflite_float32", "tflite_dynamic", "tflite_int8"]
    | Literal["xnnpack_1x1", "1:2", "1:4", "2:4", "4:8"]
)

MEMBERS: dict[str, Callable[[], Pattern]] = {
    "unstructured": Unstructured,
    "channel": Channel,
    # The blocks that TFLite's kernels of fully connected layers read: 1x4 of [output, input] in
    # float32, 1x16 of int8 weights, with float or integer activations.
    "tflite_float32": lambda: Block((4, 1)),
    "tflite_dynamic": lambda: Block((16, 1)),
    "tflite_int8": lambda: Block((16, 1)),
    # XNNPACK's sparse 1x1 convolutions compute four outputs at a time.
    "xnnpack_1x1": lambda: Block((1, 4)),
    "2:4": lambda: NM(2, 4),
}

OTHER_NAMES = {  # of other packages
    "block": "kprune.patterns.Block((4, 1))",
    "blocks": "kprune.patterns.Block((4, 1))",
    "filter": "channel",
    "none": "unstructured",
    "random": "unstructured",
    "structured": "channel",
    "weight": "unstructured",
}


@signatures.explained
def get(identifier: Any) -> Pattern:
    """Returns the pattern that a name, an "n:m" string, a config or a pattern stands for.

    Args:
        identifier: a name among `MEMBERS`, "n:m" with any two numbers, a config, or a pattern.

    Raises:
        ValueError: the name is unknown.
        TypeError: it is none of these.

    Example:
        >>> kprune.patterns.get("2:4")
        NM(n=2, m=4)
    """
    if isinstance(identifier, str) and (ratio := re.fullmatch(r"(\d+):(\d+)", identifier)):
        return NM(int(ratio[1]), int(ratio[2]))
    names = dict(OTHER_NAMES)
    if isinstance(identifier, str) and (sizes := re.fullmatch(r"(\d+) ?[x, ] ?(\d+)", identifier)):
        names[identifier.lower()] = f"kprune.patterns.Block(({sizes[1]}, {sizes[2]}))"
    return registration.resolve(identifier, Pattern, MEMBERS, "pattern", names)  # type: ignore[type-abstract]
