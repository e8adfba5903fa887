"""Converts models of other pruning packages to Keras 3 models with masks."""

from kprune.migrate._tfmot import MigrationError, from_tfmot

__all__ = ["from_tfmot", "MigrationError"]


def __dir__() -> list[str]:
    return list(__all__)
