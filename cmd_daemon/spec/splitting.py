"""Which splitter a step's `split` means, and whether that splitter takes it."""

from collections.abc import Mapping
from typing import Any

from cmd_daemon.hooks.ports import Splitter
from cmd_daemon.kernel.policy import SplitPlan
from cmd_daemon.spec.model import SplitSection
from cmd_daemon.spec.problems import nearest, shorten

Finding = tuple[str, str, str]
"""Key inside `split` ("" for the whole), message, hint."""

_LISTED = ("values", "ranges")
_COUNTED = ("size", "count", "max_quanta", "within")


def split_plan(split: SplitSection | None) -> tuple[SplitPlan, list[Finding]]:
    """The splitter and its parameters, which are the mapping as it was given.

    No `split`: "none". With `values` or `ranges`: "values". With `size`, `count`, `max_quanta` or
    `within` alone: "query". `splitter` names any other. `at` is no parameter: it says whose Butler is
    asked.
    """
    if split is None:
        return SplitPlan(), []
    given: dict[str, Any] = split.model_dump(exclude_unset=True)
    name, at = given.pop("splitter", None), given.pop("at", None)
    if name is not None:
        return SplitPlan(name, given, at), []
    if "by" not in given:
        return SplitPlan("", given), [("by", "this key is required", "for example by: tract")]
    if any(k in given for k in _LISTED):
        return SplitPlan("values", given, at), []
    if any(k in given for k in _COUNTED):
        return SplitPlan("query", given, at), []
    words = "says what to split by but not how"
    unknown = [k for k in given if k not in SplitSection.model_fields]
    for key in unknown:
        hint = nearest(key, SplitSection.model_fields, "keys here")
        if hint.startswith("did you mean"):
            return SplitPlan("", given), [(key, "unknown key", hint)]
    return SplitPlan("", given), [("", words, f"add one of {', '.join(_LISTED + _COUNTED)}")]


def split_findings(plan: SplitPlan, splitters: Mapping[str, Splitter]) -> list[Finding]:
    """What the daemon's splitter of that name says about the parameters."""
    splitter = splitters.get(plan.splitter)
    if splitter is None:
        return [
            (
                "splitter",
                f"there is no splitter '{plan.splitter}' in this daemon",
                nearest(plan.splitter, splitters, "splitters"),
            )
        ]
    try:
        words = list(splitter.check(dict(plan.params)))
    except Exception as error:  # noqa: BLE001 - a plugin's fault must not become the daemon's
        return [
            (
                "",
                f"splitter '{plan.splitter}' failed to check this: {error!r:.200}",
                "this is a fault of the plugin",
            )
        ]
    findings = []
    for word in words:
        text = shorten(str(word), 300)
        key = text.split(maxsplit=1)[0].strip(":'\",") if text.split() else ""
        if key in plan.params:
            rest = text.split(maxsplit=1)[1] if len(text.split(maxsplit=1)) > 1 else text
            findings.append((key, rest, ""))
        else:
            findings.append(("", text or "the splitter refused this without a word", ""))
    return findings


class Splits:
    """The splits of one file; each `split` is looked at once, however many steps share it."""

    def __init__(self, splitters: Mapping[str, Splitter]) -> None:
        self._splitters = splitters
        self._seen: dict[int, tuple[SplitSection | None, SplitPlan, list[Finding]]] = {}

    def of(self, split: SplitSection | None) -> tuple[SplitPlan, list[Finding]]:
        """The plan of a `split` and what is wrong with it."""
        if id(split) not in self._seen:
            plan, findings = split_plan(split)
            findings = findings or split_findings(plan, self._splitters)
            self._seen[id(split)] = (split, plan, findings)
        return self._seen[id(split)][1:]
