"""Shows progress bars, with the time that is left, for work that takes longer than a second.

The bars are written to standard error if that is a terminal, so a log file stays clean. Keras's
own switch, `keras.config.disable_interactive_logging()`, turns them off.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

import keras
import rich.console
import rich.progress

T = TypeVar("T")

SECONDS_BEFORE_SHOWN = 1.0

# There is one display at a time; work inside other work adds a line to it.
_shown: rich.progress.Progress | None = None


class Bar:
    """Shows one line: what is done, how far it is, how long it will take."""

    def __init__(self, what: str, total: int | None) -> None:
        self.what, self.total, self.done = what, total, 0
        self._started = time.monotonic()
        self._task: rich.progress.TaskID | None = None

    def advance(self, by: int = 1) -> None:
        """Advances the bar, and shows it once the work has taken longer than a second."""
        self.done += by
        is_slow = time.monotonic() - self._started > SECONDS_BEFORE_SHOWN
        if self._task is None and is_slow and _shown is not None:
            self._task = _shown.add_task(self.what, total=self.total, start=True)
            _shown.start()
        if self._task is not None and _shown is not None:
            _shown.update(self._task, completed=self.done)


@contextlib.contextmanager
def show_bar(what: str, total: int | None = None) -> Iterator[Bar]:
    """Shows a bar during a block, if the block takes longer than a second.

    Args:
        what: the text in front of it.
        total: how many steps there are; `None` where that is not known.

    Example:
        >>> with show_bar("solving", total=3) as progress_bar:
        ...     progress_bar.advance()
    """
    global _shown
    outermost = _shown is None
    if _shown is None:
        console = rich.console.Console(stderr=True)
        _shown = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=24),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left"),
            rich.progress.TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not (console.is_terminal and keras.config.is_interactive_logging_enabled()),
        )
    progress_bar = Bar(what, total)
    try:
        yield progress_bar
    finally:
        if progress_bar._task is not None:
            _shown.remove_task(progress_bar._task)
        if outermost:
            _shown.stop()
            _shown = None


def count(items: object) -> int | None:
    """Returns how many items there are, or `None` where that is not known."""
    try:
        return len(items) if isinstance(items, Sized) else None
    except TypeError:  # a `tf.data.Dataset` of unknown length
        return None


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yields the items, and advances a bar after each.

    Args:
        items: anything that can be iterated.
        what: the text in front of the bar.
        total: how many there are. Default: their length, where it is known.

    Example:
        >>> for layer in track(model.layers, "solving"):
        ...     pass
    """
    if total is None:
        total = count(items)
    with show_bar(what, total) as progress_bar:
        for item in items:
            yield item
            progress_bar.advance()
