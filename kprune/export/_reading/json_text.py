"""Reads JSON from files that may be made to harm, within a limit of memory."""

import json
from typing import Any

# Bytes that Python takes at most for what a character of JSON may begin: a dict with an entry, a
# list, another entry with its number, half of the head of a string.
COSTS = {b"{": 248, b"[": 88, b",": 40, b":": 40, b'"': 32}
PER_BYTE = 9  # of the text: itself, and as Python's text and strings with 4 bytes a character
# The description of a model may take this much whatever the limit is, which is set for weights.
LEAST_LIMIT = 1 << 24


def parse_object(text: bytes, limit_bytes: int) -> dict[str, Any]:
    """Returns the object that a JSON text holds.

    Args:
        text: JSON in UTF-8.
        limit_bytes: the most that the text and the objects made of it may take; at least 16 MB.

    Raises:
        ValueError: the text is not JSON, not an object, nested too deeply, or takes more.

    Example:
        >>> parse_object(b'{"units": 3}', limit_bytes=1000)
        {'units': 3}
    """
    size = PER_BYTE * len(text) + sum(cost * text.count(sign) for sign, cost in COSTS.items())
    limit_bytes = max(limit_bytes, LEAST_LIMIT)
    if size > limit_bytes:
        raise ValueError(
            f"its JSON would take up to {size:,} bytes; expected {limit_bytes:,} at most. "
            f"Write limit_bytes={size} where the file's source is to be trusted."
        )
    try:
        content = json.loads(text.decode())
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("its JSON is not an object")
    return content
