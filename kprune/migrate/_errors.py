"""Defines the error of a conversion."""


class MigrationError(ValueError):
    """Raised where a part of a model has no counterpart in Keras 3."""
