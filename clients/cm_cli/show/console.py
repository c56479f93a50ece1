"""The terminal: width, colour, and tables that never interpret what they show."""

from __future__ import annotations

import os
import sys

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from .text import STYLES, clean

PIPE_WIDTH = 160
"""Columns when the output is no terminal and COLUMNS says nothing."""


def console() -> Console:
    """Rich's console on stdout, with markup, emoji codes and highlighting off."""
    width = PIPE_WIDTH if not sys.stdout.isatty() and "COLUMNS" not in os.environ else None
    return Console(markup=False, emoji=False, highlight=False, width=width)


def text(value: object, style: str = "") -> Text:
    """Cleaned text that wraps rather than being cut."""
    return Text(clean(str(value)), style=style, overflow="fold")


def one_line(line: Text) -> Text:
    """The same text, cut where the line ends."""
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def state_text(state: str) -> Text:
    """A state in its colour."""
    return text(state, STYLES.get(state, ""))


def table(*columns: str, right: tuple[str, ...] = (), title: str = "") -> Table:
    """An empty table with these columns, some of them aligned right."""
    grid = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1),
        title=text(title) if title else None,
        title_justify="left",
    )
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return grid


def row(grid: Table, *cells: object) -> None:
    """Add a row; what is not a renderable already becomes cleaned text."""
    grid.add_row(*(_cell(cell) for cell in cells))


def facts(pairs: list[tuple[str, object]]) -> Table:
    """Names and values, one pair a line; pairs without a value are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None and str(value):
            grid.add_row(text(name), _cell(value))
    return grid


def _cell(value: object) -> RenderableType:
    return (
        value
        if isinstance(value, Text | Table) or hasattr(value, "__rich_console__")
        else text(value)
    )
