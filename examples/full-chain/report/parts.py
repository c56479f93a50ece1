"""Pieces that several sections of the report are made of."""

from markup import Child, Html, el

GOOD = frozenset({"ACCEPTED", "SUCCEEDED", "ARCHIVED"})
BAD = frozenset({"FAILED", "CANCELLED", "HELD", "REJECTED", "UNCERTAIN"})
SHOWN_ROWS = 60
"""Longer lists are folded in."""


def section(identity: str, heading: str, *children: Child) -> Html:
    """A section with its heading."""
    return el("section", el("h2", heading), *children, id=identity)


def badge(state: str) -> Html:
    """A state as a coloured word."""
    kind = "good" if state in GOOD else "bad" if state in BAD else "open"
    return el("span", state, class_=f"badge {kind}")


def dot(colour: str) -> Html:
    """A spot of colour before a name."""
    return el("span", "", class_="dot", style=f"background:{colour}")


def folded(heading: str, content: Html, open_: bool) -> Html:
    """Something that can be folded in."""
    return el("details", el("summary", heading), content, open="open" if open_ else None)
