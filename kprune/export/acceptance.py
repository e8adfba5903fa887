"""The smallest sparse file that every interpreter gets right."""

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path

from kprune.export import trial, verification
from kprune.export._tflite import constants, flatbuffer, placement, sparsification, targets
from kprune.export._tflite.sparsification import Sparsified


def sparsify(
    dense: Path,
    path: Path,
    runs: trial.Runs,
    reference: dict[str, trial.Run],
    quantization: str | None,
    target: targets.Target,
) -> tuple[dict[str, trial.Run], Mapping[tuple[int, str], str]]:
    """Writes a sparse file that computes what the dense one does, and returns what it computed.

    Should an interpreter get the file wrong, operators whose constants it gets right are found
    one kind after another, and the constants of the others stay dense.
    """

    def attempt(avoid: Collection[str]) -> tuple[dict[str, trial.Run], Sparsified]:
        made = sparsification.rewrite(dense.read_bytes(), target, avoid)
        path.write_bytes(made.content)
        if not made.sparse:
            return reference, made
        return trial.sparse(path, dense, runs, reference, quantization), made

    try:
        results, made = attempt(())
    except verification.ExportError:
        avoid = set(placement.kinds(list(constants.find(flatbuffer.load(dense)))))
        results, made = attempt(avoid)
        for kind in sorted(avoid):
            with contextlib.suppress(verification.ExportError):
                results, made = attempt(avoid - {kind})
                avoid.remove(kind)
        path.write_bytes(made.content)
    return results, made.reasons
