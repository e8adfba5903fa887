"""Renders tables: coloured in a terminal, plain ASCII everywhere else."""

import io
import re
import shutil
import sys
from collections.abc import Iterable, Sequence

import rich.box
import rich.console
import rich.table
import rich.text

MAX_WIDTH = 100  # columns; a report is pasted into issues and logs, where long lines break
NUMBER = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?( ?(%|[kMG]?i?B|m?s|x))?")


def render(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    footer: str | None = None,
) -> str:
    """Returns a table as text, at most 100 columns wide.

    A column of numbers, with or without units, is aligned to the right and never broken; "-" and
    "" mean that there is no number. Other cells that are too long are folded, none is shortened.

    Args:
        title: the line above the table.
        columns: the headings.
        rows: the cells, one sequence a row, in the order of the columns; shown with `str`.
        footer: lines below the table. Default: none.

    Example:
        >>> print(render("sizes", ["file", "bytes"], [["lenet.tflite", "25,300"]]))
        sizes
        +-----------------------+
        | file         |  bytes |
        |--------------+--------|
        | lenet.tflite | 25,300 |
        +-----------------------+
    """
    terminal = sys.stdout.isatty()
    cells = [[str(cell) for cell in row] for row in rows]
    table = rich.table.Table(box=rich.box.ROUNDED if terminal else rich.box.ASCII)
    for index, heading in enumerate(columns):
        numeric = bool(cells) and all(_is_number(row[index]) for row in cells)
        table.add_column(
            rich.text.Text(heading),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=numeric,
        )
    for row in cells:
        table.add_row(*(rich.text.Text(cell) for cell in row))
    width = (
        min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, 24)).columns) if terminal else MAX_WIDTH
    )
    page = io.StringIO()
    console = rich.console.Console(file=page, width=width, force_terminal=terminal)
    console.print(rich.text.Text(title, style="bold"), soft_wrap=True)
    console.print(table)
    if footer:
        console.print(rich.text.Text(footer), overflow="fold")
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def _is_number(cell: str) -> bool:
    return cell in ("", "-") or NUMBER.fullmatch(cell) is not None
