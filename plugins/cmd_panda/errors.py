"""The error table: what PanDA's and the pilot's codes mean for the retries, and what people can do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import structlog
import yaml

from cmd_daemon.hooks import ErrorClass
from cmd_panda.records import JobError
from cmd_panda.settings import ErrorRule

CLASSES = {"transient": ErrorClass.TRANSIENT, "permanent": ErrorClass.PERMANENT}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the table says about a job's errors. `error_class` is None where the table is passive."""

    error_class: ErrorClass | None
    words: str


@cache
def package_rules() -> tuple[ErrorRule, ...]:
    """The lines of the package's own table. Raises ValidationError for a bad line."""
    document: Any = yaml.safe_load(files("cmd_panda").joinpath("errors.yaml").read_text())
    rules = []
    for source, lines in document.items():
        coded = lines.items() if isinstance(lines, dict) else (("any", line) for line in lines)
        for code, line in coded:
            rules.append(
                ErrorRule(source=source, code=None if code == "any" else int(code), **line)
            )
    return tuple(rules)


class ErrorTable:
    """The lines of the configuration, then those of the package: the first that matches decides."""

    def __init__(self, rules: Sequence[ErrorRule], passive: bool, facility: str) -> None:
        self._rules = (*rules, *package_rules())
        self._matches = [re.compile(rule.match, re.IGNORECASE) for rule in self._rules]
        self._passive = passive
        self._facility = facility

    def rule_for(self, error: JobError) -> ErrorRule | None:
        """The line for one error, or None where nobody has written one."""
        for rule, pattern in zip(self._rules, self._matches, strict=True):
            if rule.source != error.source:
                continue
            if rule.code is not None and rule.code != error.code:
                continue
            if pattern.search(error.text):
                return rule
        return None

    def judge(self, errors: Sequence[JobError]) -> Verdict:
        """The class of a job's errors and words for people: permanent if one of them is, transient if
        nobody has written a line for them."""
        rules = [self.rule_for(error) for error in errors]
        known = [rule for rule in rules if rule is not None]
        decisive = next((rule for rule in known if rule.error_class == "permanent"), None)
        if decisive is None and known:
            decisive = known[0]
        decided = CLASSES[decisive.error_class if decisive is not None else "transient"]
        said = []
        for error, rule in zip(errors, rules, strict=True):
            code = f"{error.source} {error.code}" if error.code else error.source
            name = f" ({rule.name})" if rule is not None and rule.name else ""
            said.append(f"{code}{name}" + (f": {error.text}" if error.text else ""))
        words = "; ".join(said)
        if decisive is not None and decisive.action:
            words += f" -> {decisive.action}"
        if self._passive:
            log.info(
                "the error table is passive",
                facility=self._facility,
                would_say=str(decided),
                errors=words,
            )
            return Verdict(None, words)
        return Verdict(decided, words)
