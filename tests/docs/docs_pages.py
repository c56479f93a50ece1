"""The documentation's pages, taken apart for tests."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "CHANGELOG.md", *(ROOT / "tests").rglob("README.md")])

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def text_of(name: str) -> str:
    """A page of docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(text: str, info: str) -> list[str]:
    """The fenced blocks with exactly this info string."""
    return [found["body"] for found in _FENCE.finditer(text) if found["info"].strip() == info]


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text)


def codes(text: str) -> set[str]:
    """Everything between single backticks outside fenced blocks."""
    return set(_CODE.findall(prose(text)))


def links(text: str) -> list[str]:
    """The targets of links outside fenced blocks."""
    return _LINK.findall(prose(text))


def headings(text: str) -> list[str]:
    """The headings, without their marks."""
    return _HEADING.findall(prose(text))


def anchor(heading: str) -> str:
    """The anchor that a heading gets where Markdown is shown."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def section(text: str, heading: str) -> str:
    """What is under a heading, up to the next one of any level."""
    start = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    assert start is not None, f"no heading {heading!r}"
    following = re.search(r"^#+ ", text[start.end() :], re.MULTILINE)
    return text[start.end() :][: following.start() if following else None]


def first_column(text: str) -> list[str]:
    """The words in backticks that begin the rows of a page's tables."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
