"""Exports of pruned models, each verified against the model before it appears."""

from kprune.export.encodings import TensorEncoding
from kprune.export.saved_model import SavedModelReport, to_saved_model
from kprune.export.tflite import to_tflite
from kprune.export.tflite_report import TFLiteReport
from kprune.export.verification import ExportError

__all__ = [
    "ExportError",
    "SavedModelReport",
    "TFLiteReport",
    "TensorEncoding",
    "to_saved_model",
    "to_tflite",
]
