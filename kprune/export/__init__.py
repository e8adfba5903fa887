"""Exports pruned models to files, each verified against the model before it appears."""

from kprune.export._symmetric_padding import symmetric_padding
from kprune.export._verification import ExportError
from kprune.export.compressed import (
    CompressedReport,
    CompressedTensor,
    load_compressed,
    save_compressed,
)
from kprune.export.saved_model import SavedModelReport, SignatureTensor, to_saved_model
from kprune.export.tflite import (
    CheckReport,
    TensorEncoding,
    TFLiteReport,
    WeightCheck,
    check,
    to_tflite,
)

__all__ = [
    "to_saved_model",
    "to_tflite",
    "check",
    "save_compressed",
    "load_compressed",
    "symmetric_padding",
    "ExportError",
    "CheckReport",
    "CompressedReport",
    "CompressedTensor",
    "SavedModelReport",
    "SignatureTensor",
    "TFLiteReport",
    "TensorEncoding",
    "WeightCheck",
]


def __dir__() -> list[str]:
    return list(__all__)
