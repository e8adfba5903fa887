"""Decides how each constant of a .tflite model is stored, and whether a sparse kernel reads it.

`to_tflite` applies these decisions, and `check` reports them.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kprune.export._tflite.format import constants, encoder, encodings, flatbuffer, sparse_array
from kprune.export._tflite.format.constants import Constant
from kprune.export._tflite.format.sparse_array import SparseArray
from kprune.export._tflite.rules import placement, pointwise, targets

OVERHEAD = 384  # bytes that a further tensor, its operator and its sparsity take at most
NO_GAIN = "too small, or too few zeros: no encoding saves bytes"
FEW_ZEROS = 0.01  # a constant with fewer zeros is dense without a reason given


@dataclasses.dataclass(frozen=True, eq=False)
class Decision:
    """How a constant is stored, and whether an operator computes faster with its zeros.

    Args:
        key: the sub-graph and the name of the constant.
        constant: the constant, dense or sparse, as the file has it.
        encoding: `encodings.DENSE`, `NATIVE` or `DENSIFIED`.
        sparse: the encoded values; `None` where they stay dense. Constants that share a buffer
            have the same object.
        reason: why a constant with zeros stays dense.
        slower: why it is not faster on the target; `None` where it is.
        condition: what makes it faster, where it is.
    """

    key: tuple[int, str]
    constant: Constant
    encoding: str
    sparse: SparseArray | None
    reason: str | None
    slower: str | None
    condition: str | None

    @property
    def bytes(self) -> int:
        """What the values take in the file."""
        return self.constant.stored.nbytes if self.sparse is None else self.sparse.nbytes

    def stay_dense(self, reason: str) -> "Decision":
        """Returns the decision to store the constant densely; reasons are for zeros alone."""
        given = self.reason if count_zeros(self.constant) < FEW_ZEROS else reason
        slower = reason if self.encoding == encodings.NATIVE else self.slower
        condition = None if slower else self.condition
        return dataclasses.replace(
            self,
            encoding=encodings.DENSE,
            sparse=None,
            reason=given,
            slower=slower,
            condition=condition,
        )


def decide(
    model: Any,
    target: targets.Target,
    avoid: Collection[str] = (),
    paths: Mapping[tuple[int, str], str] | None = None,
) -> list[Decision]:
    """Decides for each constant of a model, in the order of the file.

    Args:
        model: a `ModelT`.
        target: where the file will run.
        avoid: names of operators whose constants stay dense.
        paths: of the Keras variables that constants hold, by sub-graph and name, for messages.
    """
    groups: dict[int, list[Constant]] = {}  # constants that share a buffer share its encoding
    for constant in constants.find(model):
        groups.setdefault(constant.tensor.buffer, []).append(constant)
    obstacles = pointwise.find_obstacles(model, paths)
    fatal = pointwise.find_fatal(model)
    decisions: dict[tuple[int, int], Decision] = {}
    for group in groups.values():
        encoding, sparse, reason = _choose_encoding(group, target, avoid, fatal)
        for constant in group:
            slower, condition = _judge_speed(constant, encoding, target, obstacles)
            if fatal is not None:
                slower, condition = slower or fatal, None
            decisions[constant.graph, constant.index] = Decision(
                (constant.graph, constant.name),
                constant,
                encoding,
                sparse,
                reason,
                slower,
                condition,
            )
    return [decisions[key] for key in sorted(decisions)]


def _choose_encoding(
    group: Sequence[Constant],
    target: targets.Target,
    avoid: Collection[str],
    fatal: str | None,
) -> tuple[str, SparseArray | None, str | None]:
    """Returns how to store constants of the same value: encoding, values, or why they are dense."""
    first = group[0]
    if count_zeros(first) < FEW_ZEROS:
        return encodings.DENSE, None, None
    if fatal is not None:
        return encodings.DENSE, None, fatal
    if refused := sorted(set(avoid) & set(placement.operator_names(group))):
        reason = f"the interpreter does not get it right before {', '.join(refused)}"
        return encodings.DENSE, None, reason
    if all(placement.is_direct(each) for each in group) and (layout := target.kernel(first)):
        sparse = sparse_array.encode(first.stored, layout)
        if sparse.nbytes + OVERHEAD < first.stored.nbytes:
            return encodings.NATIVE, sparse, None
    for constant in group:
        if obstacle := placement.find_obstacle(constant, flatbuffer.kind(constant.tensor)):
            return encodings.DENSE, None, obstacle
    is_widened = any(placement.is_widened(each) for each in group)
    with np.errstate(invalid="ignore"):  # some NaN of float16 signal
        stored = first.stored.astype(np.float32) if is_widened else first.stored
    smallest = encoder.smallest(stored)
    if smallest is None or smallest.nbytes + OVERHEAD * len(group) >= first.stored.nbytes:
        return encodings.DENSE, None, NO_GAIN
    return encodings.DENSIFIED, smallest, None


def _judge_speed(
    constant: Constant,
    encoding: str,
    target: targets.Target,
    obstacles: Mapping[tuple[int, int], str | None],
) -> tuple[str | None, str | None]:
    """Returns what keeps a constant from being faster, or else what makes it so."""
    kind = flatbuffer.kind(constant.tensor)
    if placement.is_direct(constant):
        return _judge_matrix(constant, kind, encoding, target)
    if constant.operators != ("CONV_2D",) or (constant.graph, constant.index) not in obstacles:
        operators = ", ".join(constant.operators)
        return f"no sparse kernel for {operators} in this form or precision", None
    if target.name == "x86":
        return "XNNPACK's sparse convolutions are off on x86 processors with AVX", None
    if kind == "int8":
        return "XNNPACK's sparse convolutions are for float32 and float16", None
    reason = obstacles[constant.graph, constant.index]
    zeros = count_zeros(constant)
    if reason is None and zeros <= pointwise.ZEROS:
        reason = f"with {zeros:.0%} zeros it does not have more than two thirds"
    if reason is not None:
        return reason, None
    return None, "on ARM, with more than two thirds of zeros over all 1x1 convolutions"


def _judge_matrix(
    constant: Constant, kind: str, encoding: str, target: targets.Target
) -> tuple[str | None, str | None]:
    """Returns what keeps FULLY_CONNECTED from reading blocks directly, or from when it does."""
    obstacle = target.find_obstacle(constant.shape, kind, targets.is_hybrid(constant))
    if obstacle is not None:
        return obstacle, None
    least, block = target.least(constant.shape, kind), targets.BLOCKS[kind]
    name = "tflite_float32" if kind == "float32" else "tflite_dynamic"
    condition = f'from {least:.0%} zeros in blocks of {block}: wrap(model, pattern="{name}")'
    if encoding == encodings.NATIVE:
        return None, condition
    empty = targets.blocks_of_zeros(constant.stored, block)
    return f"{empty:.0%} of its blocks are zero; faster {condition}", None


def count_zeros(constant: Constant) -> float:
    """Returns the fraction of a constant's values that are zero."""
    return 1 - int(np.count_nonzero(constant.stored)) / max(constant.stored.size, 1)
