"""HTML and SVG from Python, where text is escaped by construction.

`el("td", text, class_="number")` makes an element. Children that are plain strings are text and are
escaped; only what `el` made (type `Html`) goes in as it is. So a campaign name or a message
from a failed job can never become markup.
"""

import html
import re
from collections.abc import Iterable, Sequence

Child = object
"""What `el` takes inside: Html as it is, None as nothing, a list or tuple as its members, all
else as text."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
_EMPTY = frozenset({"br", "hr", "img", "meta", "link", "col"})


class Html(str):
    """Markup that is safe to put into a page."""

    __slots__ = ()


def text(value: object) -> Html:
    """A value as text: escaped; control and direction characters shown as a replacement character."""
    return Html(html.escape(_UNSEEN.sub("\ufffd", str(value)), quote=True))


def join(children: Iterable[Child], between: str = "") -> Html:
    """Several children one after the other."""
    return Html(between.join(_inside(child) for child in children))


def el(name: str, *children: Child, **attributes: object) -> Html:
    """One element. In attribute names a last `_` is dropped and others become `-`, so that
    `class_` and `stroke_width` work; attributes that are None are left out, numbers are rounded to
    a hundredth."""
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            words.append(f'{key.rstrip("_").replace("_", "-")}="{text(_short(value))}"')
    opening = f"<{' '.join(words)}>"
    if name in _EMPTY:
        return Html(opening)
    return Html(f"{opening}{join(children)}</{name}>")


def table(
    heads: Sequence[Child],
    rows: Iterable[Sequence[Child]],
    numbers: Iterable[int] = (),
    classes: str | None = None,
) -> Html:
    """A table; `numbers` are the positions of columns set flush right. A row may hold `cell(...)`s."""
    right = frozenset(numbers)
    body = [
        el("tr", *(_cell(value, "td", i in right) for i, value in enumerate(row))) for row in rows
    ]
    head = el("tr", *(_cell(value, "th", i in right) for i, value in enumerate(heads)))
    made = el("table", el("thead", head), el("tbody", *body), class_=classes)
    return el("div", made, class_="wide")


def cell(*children: Child, **attributes: object) -> Html:
    """A cell with attributes of its own, for `table`."""
    return el("td", *children, **attributes)


def _cell(value: Child, name: str, right: bool) -> Html:
    if isinstance(value, Html) and value.startswith("<td"):
        return value
    return el(name, value, class_="number" if right else None)


def _inside(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, list | tuple):
        return join(child)
    return text(child)


def _short(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
