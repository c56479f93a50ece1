"""From the text of a campaign file to plain values with their places; nothing of its meaning.

YAML as of version 1.2's core rules (`yes` and `no` are text, so is a date; a number with leading
zeros is text), within limits that no honest file meets: 1 MiB, 100,000 values, 40 levels. Tags and
merge keys are refused, keys given twice as well, aliases are allowed within the limits.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from cmd_daemon.spec.problems import CampaignFileError, Path, Problem, dotted, nearest, shorten

MAX_BYTES = 1024 * 1024
MAX_NODES = 100_000
MAX_DEPTH = 40
MAX_TEXT = 4 * 1024 * 1024
MAX_PROBLEMS = 100
ADVISED = 500
"""Characters of a line that is no YAML that are looked at for an advice."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(slots=True)
class Document:
    """A parsed file: its values (JSON types only) and where each stands.

    `values` and `keys` give (line, column), from 1, of a path's value and of its key. `texts` has
    the text of scalars that were not taken as text, so that `stack: 1.10` can still be read as such.
    """

    file: str
    data: Any = None
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unknown: set[Path] = field(default_factory=set)
    """Paths whose value is not known, which was said: more problems with them are not noted."""

    def place(self, path: Path, of_key: bool = False) -> tuple[int, int]:
        """Where `path` stands, or the nearest thing around it; `of_key` asks for its key's place."""
        if of_key and path in self.keys:
            return self.keys[path]
        for end in range(len(path), -1, -1):
            if path[:end] in self.values:
                return self.values[path[:end]]
        return (1, 1)

    @property
    def full(self) -> bool:
        """True when so many problems are noted that no more are."""
        return len(self.problems) >= MAX_PROBLEMS

    def nearest(self, name: str, valid: Iterable[str], what: str = "") -> str:
        """As `problems.nearest`, but without the work when no more problems are noted."""
        return "" if self.full else nearest(name, valid, what)

    def add(self, path: Path, message: str, hint: str = "", of_key: bool = False) -> None:
        """Note a problem at `path`."""
        if path in self.unknown or self.full:
            return
        line, column = self.place(path, of_key)
        if len(self.problems) == MAX_PROBLEMS - 1:
            message, hint = f"and more problems; these are the first {MAX_PROBLEMS - 1}", ""
        self.problems.append(Problem(self.file, line, column, dotted(path), message, hint))


def read_document(text: str | bytes, file: str, kind: str = "campaign") -> Document:
    """Parse a campaign file, or a file of another kind that begins with its key.

    Raises CampaignFileError when the text is no YAML within the limits; smaller troubles (keys given
    twice, tags) are noted in the document's `problems`.
    """
    document = Document(file)
    _Builder(document, _decoded(text, file)).build()
    if document.data is None and not document.problems:
        _stop(file, 1, 1, "the file is empty", f"a {kind} file begins with '{kind}: NAME'")
    if not isinstance(document.data, dict):
        line, column = document.place(())
        what = kind_of(document.data)
        _stop(
            file,
            line,
            column,
            f"a {kind} file is a mapping of keys, this is {what}",
            f"it begins with '{kind}: NAME'",
        )
    return document


def scalar_of(text: str) -> Any:
    """The value of a plain (unquoted) scalar: null, true, false, a number, or else the text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if len(text) <= 40 and _FLOAT.fullmatch(text) and any(c in text for c in ".eE"):
        number = float(text)
        return number if abs(number) != float("inf") else text
    return text


def value_of(text: str) -> Any:
    """The value of a text given outside the file (`--set NAME=text`), read as YAML; the text
    itself when it is no YAML or a mapping."""
    try:
        value = read_fragment(text)
    except CampaignFileError:
        return text
    return text if isinstance(value, dict) else value


def read_fragment(text: str) -> Any:
    """Parse a small YAML text that may be any value. Raises CampaignFileError."""
    document = read_value(text, "")
    if document.problems:
        raise CampaignFileError(document.problems)
    return document.data


def read_value(text: str, file: str) -> Document:
    """Parse a YAML text that may be any value. Raises CampaignFileError as `read_document` does."""
    document = Document(file)
    _Builder(document, _decoded(text, file)).build()
    return document


def kind_of(value: Any) -> str:
    """What a value is, for messages: 'a list', 'the number 3', ..."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text '{shorten(value, 40)}'"
        case list():
            return "a list"
    return "a mapping"


def _stop(file: str, line: int, column: int, message: str, hint: str = "") -> None:
    raise CampaignFileError([Problem(file, line, column, "", message, hint)])


def _decoded(text: str | bytes, file: str) -> str:
    """The text, as checked UTF-8 without a byte order mark. Raises CampaignFileError."""
    try:
        raw = text.encode() if isinstance(text, str) else bytes(text)
    except UnicodeEncodeError as error:
        line = error.object.count("\n", 0, error.start) + 1
        _stop(file, line, 1, "the text has a character that is no Unicode", "save it as UTF-8")
        raise  # not reached: _stop raises
    if len(raw) > MAX_BYTES:
        _stop(
            file,
            1,
            1,
            f"the file has {len(raw)} bytes, at most {MAX_BYTES} are allowed",
            "use ranges or a query instead of long lists of values",
        )
    zero = raw.find(b"\0")
    if zero >= 0:
        line = raw.count(b"\n", 0, zero) + 1
        column = zero - raw.rfind(b"\n", 0, zero)
        _stop(file, line, column, "there is a NUL byte here", "this is not a text file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        _stop(
            file,
            line,
            column,
            f"byte 0x{raw[error.start]:02x} is not UTF-8",
            "save the file as UTF-8",
        )
        raise  # not reached: _stop raises


class _Builder:
    """Builds the values of one document from the parser's events."""

    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        self._text = text
        self._nodes = 0
        self._chars = 0
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._event: Any = None

    def build(self) -> None:
        file = self._document.file
        try:
            self._events = yaml.parse(self._text, Loader=_LOADER)
            self._next()  # stream start
            self._next()
            if isinstance(self._event, yaml.StreamEndEvent):
                return
            self._next()  # past the document's start
            self._document.data = self._node((), 0)
            self._next()
            self._next()
            if not isinstance(self._event, yaml.StreamEndEvent):
                line, column = self._mark()
                _stop(
                    file, line, column, "a second document begins here", "one file is one campaign"
                )
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            words = ", ".join(w for w in (error.context, error.problem) if w)
            _stop(file, line, column, f"this is not YAML: {words}", self._advice(line))
        except yaml.YAMLError as error:
            position = getattr(error, "position", 0) or 0
            line = self._text.count("\n", 0, position) + 1
            _stop(file, line, 1, "this is not YAML: a character is not allowed here")

    def _next(self) -> None:
        self._event = next(self._events)

    def _mark(self) -> tuple[int, int]:
        return self._event.start_mark.line + 1, self._event.start_mark.column + 1

    def _advice(self, line: int) -> str:
        lines = self._text.splitlines()
        # The pattern below takes the square of a line's length: a line of a million brackets took hours.
        around = "\n".join(each[:ADVISED] for each in lines[max(0, line - 2) : line])
        if re.search(r"[{\[,][^#\n]*\$\{\w+\}", around):
            return 'inside { } and [ ] a ${NAME} must be in quotes: "${NAME}"'
        if "\t" in around:
            return "YAML is indented with spaces, not tabs"
        return "look at the indentation, colons and quotes of this line and the one before"

    def _node(self, path: Path, depth: int) -> Any:
        """The value that begins with the current event; leaves its last event current."""
        event, place = self._event, self._mark()
        file = self._document.file
        self._document.values[path] = place
        self._nodes += 1
        if self._nodes > MAX_NODES:
            _stop(
                file,
                *place,
                f"the file has more than {MAX_NODES} values",
                "use ranges or a query instead of long lists of values",
            )
        if depth > MAX_DEPTH:
            _stop(file, *place, f"the file is nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place)
        if event.tag is not None and event.tag != "!":
            self._document.add(
                path, f"the YAML tag '{shorten(event.tag)}' is not allowed", "write the plain value"
            )
        before, chars = self._nodes, self._chars
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(path, event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path, depth)
        else:
            value = self._mapping(path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._nodes - before + 1, self._chars - chars)
        return value

    def _alias(self, event: Any, place: tuple[int, int]) -> Any:
        found = self._anchors.get(event.anchor)
        if found is None:
            _stop(
                self._document.file,
                *place,
                f"the alias '*{shorten(event.anchor)}' names nothing that stands before it",
                "an anchor is written '&name' and may not contain itself",
            )
            raise AssertionError  # not reached: _stop raises
        self._nodes += found[1]
        self._chars += found[2]
        if self._chars > MAX_TEXT:
            _stop(self._document.file, *place, "the file grows too long by its aliases")
        return found[0]

    def _scalar(self, path: Path, event: Any) -> Any:
        self._chars += len(event.value)
        if not event.implicit[0]:
            return event.value
        value = scalar_of(event.value)
        if value is not None and not isinstance(value, str):
            self._document.texts[path] = event.value
        return value

    def _sequence(self, path: Path, depth: int) -> list[Any]:
        items: list[Any] = []
        self._next()
        while not isinstance(self._event, yaml.SequenceEndEvent):
            items.append(self._node((*path, len(items)), depth + 1))
            self._next()
        return items

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        document = self._document
        self._next()
        while not isinstance(self._event, yaml.MappingEndEvent):
            place = self._mark()
            if not isinstance(self._event, yaml.ScalarEvent):
                _stop(
                    document.file,
                    *place,
                    "a key must be plain text",
                    'inside { } a ${NAME} must be in quotes: "${NAME}"',
                )
            name: str = self._event.value
            own = (*path, name)
            twice = name in mapping
            first = document.keys.get(own)
            document.keys[own] = place
            if twice and first:
                document.add(
                    own,
                    f"this key is given twice (first in line {first[0]})",
                    "keep one of the two",
                    of_key=True,
                )
            elif name == "<<":
                document.add(own, "merge keys are not allowed", "use 'defaults'", of_key=True)
            self._next()
            mapping[name] = self._node(own, depth + 1)
            self._next()
        if mapping.get("<<") is not None:
            del mapping["<<"]
        return mapping
