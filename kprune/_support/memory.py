"""Raises MemoryError for an allocation larger than half of the machine's memory."""

import contextlib
import os


def require(needed: int, what: str, suggestion: str) -> None:
    """Raises MemoryError if something takes more than half of the machine's memory.

    Args:
        needed: bytes.
        what: the thing that takes them; the beginning of a sentence.
        suggestion: what to write instead; whole sentences.

    Raises:
        MemoryError: it is more than half. Systems that do not say how much memory they have never
            raise it.

    Example:
        >>> require(1 << 10, "A kibibyte", "Write less.")
    """
    memory = None
    with contextlib.suppress(AttributeError, ValueError, OSError):  # unknown on some systems
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if memory is not None and needed > memory / 2:
        raise MemoryError(
            f"{what} would take {needed / 2**30:.0f} GiB of this machine's {memory / 2**30:.0f} "
            f"GiB. {suggestion}"
        )
