"""A stacked bar of the states that a step's groups are in."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from .text import STYLES

# From done to not begun. The character tells the state too, for terminals without colour.
ORDER = (
    ("ACCEPTED", "█", "#"),
    ("SUCCEEDED", "█", "#"),
    ("REJECTED", "x", "x"),
    ("FAILED", "x", "x"),
    ("CANCELLED", "-", "-"),
    ("REVIEW", "?", "?"),
    ("HELD", "!", "!"),
    ("UNCERTAIN", "?", "?"),
    ("RUNNING", "▓", "="),
    ("SUBMITTING", "▓", "="),
    ("PLACED", "▒", ":"),
    ("READY", "░", "."),
    ("WAITING", "░", "."),
)


class StateBar:
    """Takes the width there is, from `least` to `most` columns."""

    def __init__(self, counts: Mapping[str, int], least: int = 8, most: int = 40) -> None:
        self.counts = {state: counts[state] for state in counts if counts[state] > 0}
        self.least, self.most = least, most

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.least, max(self.least, min(self.most, options.max_width)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(self.most, options.max_width)
        bar = Text(no_wrap=True, end="")
        for (state, block, ascii_block), share in zip(ORDER, self.shares(width), strict=True):
            character = ascii_block if options.ascii_only else block
            bar.append(character * share, STYLES.get(state, ""))
        yield bar

    def shares(self, width: int) -> list[int]:
        """Columns for each state of ORDER; they add up to the width if anything is counted.

        Each state that has any gets one column at least, as far as there are columns: one held
        group among ten thousand has to be seen.
        """
        values = [self.counts.get(state, 0) for state, _, _ in ORDER]
        total = sum(values)
        if not total:
            return [0] * len(values)
        exact = [value * width / total for value in values]
        columns = [max(1, int(share)) if share > 0 else 0 for share in exact]
        while sum(columns) != width:
            step = 1 if sum(columns) < width else -1
            gaps = [(exact[i] - columns[i]) * step for i in range(len(columns))]
            # Never down to nothing while another one has more to give.
            able = [i for i in range(len(columns)) if step > 0 or columns[i] > 1] or [
                i for i in range(len(columns)) if columns[i]
            ]
            columns[max((i for i in able if exact[i] > 0), key=lambda i: gaps[i])] += step
        return columns


def counts_text(counts: Mapping[str, int]) -> Text:
    """12 ACCEPTED, 3 RUNNING in the colours of the states."""
    parts = [
        Text(f"{counts[state]} {state.lower()}", STYLES.get(state, ""))
        for state, _, _ in ORDER
        if counts.get(state)
    ]
    return Text(", ").join(parts)
