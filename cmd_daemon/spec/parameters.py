"""Parameters of a campaign file: `${NAME}` in its texts, from `--set` or `parameters:`.

Nothing is read from any environment. `$${` stands for `${` itself; `$NAME` without braces is left
for the facility, whose environment it belongs to.
"""

import re
from collections.abc import Mapping
from typing import Any

from cmd_daemon.spec.problems import CampaignFileError, Path, Problem, shorten
from cmd_daemon.spec.reading import Document, kind_of, value_of

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_USE = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")
_WHOLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
_MAX_TEXT = 10_000
_MAX_TOTAL = 4 * 1024 * 1024


def substitute(
    document: Document, given: Mapping[str, str]
) -> tuple[dict[str, str], list[Problem]]:
    """Put the parameters' values into all texts of the document, in place.

    A text that is nothing but `${NAME}` becomes the value itself with its type (a number, a list);
    elsewhere the value is put in as text. Returns the resolved parameters as text and warnings
    (declared, never used); problems go to the document.
    """
    return _Substitution(document, given).run()


class _Substitution:
    def __init__(self, document: Document, given: Mapping[str, str]) -> None:
        self._document = document
        self._given = given
        self._values: dict[str, Any] = {}
        self._texts: dict[str, str] = {}
        self._used: set[str] = set()
        self._missing: set[str] = set()
        self._later: set[Path] = set()
        self._total = 0

    def run(self) -> tuple[dict[str, str], list[Problem]]:
        document = self._document
        declared = document.data.get("parameters")
        if declared is None:
            declared = {}
        if not isinstance(declared, dict):
            return {}, []  # the model's check says it
        self._declare(declared)
        for name, text in self._given.items():
            if not _NAME.fullmatch(name):
                document.add(
                    ("parameters",),
                    f"'{shorten(name)}' is no name for a parameter",
                    "letters, digits and '_', not beginning with a digit",
                )
                continue
            self._values[name] = value_of(text)
            self._texts[name] = text
        for key, value in document.data.items():
            if key != "parameters":
                document.data[key] = self._walk((key,), value)
        document.unknown |= self._later
        for name in self._given:
            if name not in self._used and name not in declared and _NAME.fullmatch(name):
                known = [*declared, *sorted(self._used | self._missing)]
                document.add(
                    ("parameters",),
                    f"parameter '{name}' was set but the file has no such parameter",
                    self._document.nearest(name, known, "parameters"),
                )
        resolved = {name: self._texts[name] for name in sorted(self._texts)}
        document.data["parameters"] = dict(resolved)
        return resolved, self._unused(declared)

    def _declare(self, declared: dict[str, Any]) -> None:
        document = self._document
        for name, value in declared.items():
            path: Path = ("parameters", name)
            if not _NAME.fullmatch(name):
                document.add(
                    path,
                    f"'{shorten(name)}' is no name for a parameter",
                    "letters, digits and '_', not beginning with a digit",
                    of_key=True,
                )
                continue
            if isinstance(value, dict):
                document.add(
                    path, "a parameter's default is text, a number or a list, not a mapping"
                )
                continue
            if value is None:
                if name not in self._given:
                    self._missing.add(name)
                    document.add(
                        path,
                        f"parameter '{name}' has no value",
                        f"give it with --set {name}=VALUE",
                        of_key=True,
                    )
                continue
            self._values[name] = value
            self._texts[name] = document.texts.get(path, _text(value))

    def _unused(self, declared: dict[str, Any]) -> list[Problem]:
        warnings = []
        for name in declared:
            if name not in self._used and name in self._texts:
                line, column = self._document.place(("parameters", name), of_key=True)
                warnings.append(
                    Problem(
                        self._document.file,
                        line,
                        column,
                        f"parameters.{name}",
                        f"parameter '{name}' is not used",
                        f"remove it, or use it as ${{{name}}}",
                    )
                )
        return warnings

    def _walk(self, path: Path, value: Any) -> Any:
        if isinstance(value, str):
            return self._put(path, value) if "${" in value else value
        if isinstance(value, list):
            return [self._walk((*path, i), v) for i, v in enumerate(value)]
        if isinstance(value, dict):
            return {k: self._walk((*path, k), v) for k, v in value.items()}
        return value

    def _put(self, path: Path, text: str) -> Any:
        whole = _WHOLE.fullmatch(text)
        if whole:
            name = whole[1]
            if not self._known(path, name):
                return text
            self._count(path, len(self._texts[name]))
            self._document.texts[path] = self._texts[name]
            return self._values[name]
        result = _USE.sub(lambda use: self._one(path, use), text)
        self._count(path, len(result))
        return result

    def _count(self, path: Path, length: int) -> None:
        self._total += length
        if self._total > _MAX_TOTAL:
            self._document.add(path, "the file grows too long when its parameters are put in")
            raise CampaignFileError(self._document.problems)

    def _one(self, path: Path, use: re.Match[str]) -> str:
        if use[0] == "$${":
            return "${"
        if not use[2]:
            self._document.add(
                path,
                f"'{shorten(use[0], 30)}' is not closed",
                "write ${NAME}, or $${ for the characters themselves",
            )
            return ""
        name = use[1]
        if not _NAME.fullmatch(name):
            self._document.add(
                path,
                f"'${{{shorten(name, 30)}}}' is no parameter",
                "write ${NAME}, or $${ for the characters themselves",
            )
            return ""
        if not self._known(path, name):
            return use[0]
        if isinstance(self._values[name], list) and name not in self._given:
            self._document.add(
                path,
                f"parameter '{name}' is {kind_of(self._values[name])}; inside a "
                "text only text and numbers can stand",
            )
            return ""
        return self._texts[name][:_MAX_TEXT]

    def _known(self, path: Path, name: str) -> bool:
        if name in self._texts:
            self._used.add(name)
            return True
        if name in self._missing:  # said where it is declared
            self._later.add(path)
            return False
        declared = self._document.data.get("parameters") or {}
        close = self._document.nearest(name, declared)
        hint = (
            close
            if close.startswith("did you mean")
            else f"give it with --set {name}=VALUE or under 'parameters'; "
            f"a variable of the facility is written ${name}"
        )
        self._document.add(path, f"parameter '{name}' has no value", hint)
        self._later.add(path)
        return False


def _text(value: Any) -> str:
    """A default as text: what `--set` would have to say for the same."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_text(v) for v in value) + "]"
    return str(value)
