"""Writes the smallest sparse file that every interpreter runs right."""

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path

from kprune.export import _verification
from kprune.export._tflite import sparsification, trial
from kprune.export._tflite.format import constants, loading
from kprune.export._tflite.rules import placement, targets
from kprune.export._tflite.sparsification import Sparsified


def sparsify(
    dense: Path,
    path: Path,
    runs: trial.Runs,
    reference: dict[str, trial.Run],
    quantization: str | None,
    target: targets.Target,
) -> tuple[dict[str, trial.Run], Mapping[tuple[int, str], str]]:
    """Writes a sparse file that computes what the dense one does.

    If an interpreter gets the file wrong, the operators whose constants it gets right are found
    one after another, and the constants of the others stay dense.

    Args:
        dense: the dense file.
        path: where to write.
        runs: inputs by their names, for each run.
        reference: the runs of the dense file.
        quantization: the precision of both files.
        target: where the file will run.

    Returns:
        The runs of what was written, and why constants with zeros are dense.
    """

    def attempt(avoid: Collection[str]) -> tuple[dict[str, trial.Run], Sparsified]:
        made = sparsification.rewrite(dense.read_bytes(), target, avoid)
        path.write_bytes(made.content)
        if not made.is_sparse:
            return reference, made
        return trial.run_sparse(path, dense, runs, reference, quantization), made

    try:
        results, made = attempt(())
    except _verification.ExportError:
        avoid = set(placement.operator_names(list(constants.find(loading.load(dense)))))
        results, made = attempt(avoid)
        for kind in sorted(avoid):
            with contextlib.suppress(_verification.ExportError):
                results, made = attempt(avoid - {kind})
                avoid.remove(kind)
        path.write_bytes(made.content)
    return results, made.reasons
