"""Exports of pruned models, each verified against the model before it appears."""

from kprune.export._tflite.encodings import TensorEncoding
from kprune.export.check_report import CheckReport, WeightCheck
from kprune.export.checking import check
from kprune.export.compressed import load_compressed, save_compressed
from kprune.export.compressed_report import CompressedReport
from kprune.export.saved_model import SavedModelReport, to_saved_model
from kprune.export.symmetric_padding import symmetric_padding
from kprune.export.tflite import to_tflite
from kprune.export.tflite_report import TFLiteReport
from kprune.export.verification import ExportError

__all__ = [
    "CheckReport",
    "CompressedReport",
    "ExportError",
    "SavedModelReport",
    "TFLiteReport",
    "TensorEncoding",
    "WeightCheck",
    "check",
    "load_compressed",
    "save_compressed",
    "symmetric_padding",
    "to_saved_model",
    "to_tflite",
]
