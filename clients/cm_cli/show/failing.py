"""Failures by cause, and what error rules would have made of them."""

from __future__ import annotations

from collections.abc import Mapping

from cmd_api.v1.statistics_pb2 import FailureCause, FailureCauses, RuleTest, TestedRule
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from cm_client import short_name

from .console import facts, row, table, text
from .text import counted, moment

FATES = {
    "succeed": "succeeds",
    "retry": "is tried again",
    "review": "waits for a person (review)",
    "hold": "is held for a person",
    "fail": "ends its group",
    "cancelled": "is cancelled",
}
"""What each fate is for people."""


def causes(answer: FailureCauses, name: str) -> RenderableType:
    """All of `cm failures`."""
    if not answer.causes:
        return text(f"No attempt of {name} has failed.")
    parts: list[RenderableType] = [
        text(f"{counted(answer.total, 'failure')} in {name}, by cause", "bold")
    ]
    for cause in answer.causes:
        parts += ["", *_cause(cause)]
    listed = sum(cause.count for cause in answer.causes)
    if answer.total > listed:
        parts += ["", text(f"… and {answer.total - listed} more of other causes: --limit")]
    rules = [cause.rule for cause in answer.causes if cause.rule]
    if rules:
        parts += ["", text("Try a rule before you add it to `errors:` of the step:", "bold")]
        parts.append(text(f"  cm rule-test {name} --rule {_quoted(rules[0])}", "cyan"))
    return Stack(*parts)


def _cause(cause: FailureCause) -> list[RenderableType]:
    head = Text.assemble(
        text(f"{cause.count} × ", "bold"), text(cause.pattern or "no message", "bold red")
    )
    last = f"{short_name(cause.job)}#{cause.attempt}"
    first, end = moment(cause.first_time), moment(cause.last_time)
    pairs: list[tuple[str, object]] = [
        ("task", cause.task),
        ("exit code", cause.exit_code if cause.HasField("exit_code") else None),
        ("class", cause.error_class),
        ("facilities", _numbers(cause.facilities)),
        ("steps", _numbers(cause.steps)),
        ("time", first if first == end else f"{first} to {end}"),
        ("last", last),
        ("said", cause.message if " ".join(cause.message.split()) != cause.pattern else None),
        ("log", text(f"cm logs {short_name(cause.job)} --attempt {cause.attempt}", "cyan")),
        ("rule", text(f"- {cause.rule}", "green") if cause.rule else None),
    ]
    return [head, Padding(facts(pairs), (0, 0, 0, 2))]


def _numbers(counts: Mapping[str, int]) -> str:
    there = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{name or 'nowhere'} {count}" for name, count in there)


def _quoted(rule: str) -> str:
    return "'" + rule.replace("'", "'\\''") + "'"


def trial(answer: RuleTest, name: str) -> RenderableType:
    """All of `cm rule-test`."""
    if not answer.attempts:
        return text(f"No attempt of {name} has failed: nothing to try the rules on.")
    head = (
        f"{counted(answer.attempts, 'attempt')} of {name} judged again; "
        f"{answer.changed} would have come to something else"
    )
    parts: list[RenderableType] = [text(head, "bold")]
    if answer.left_out:
        parts.append(text(f"{answer.left_out} older attempts were left out.", "yellow"))
    parts += ["", _rules(answer), "", _fates(answer)]
    examples = [line for rule in answer.rules if not rule.steps for line in _examples(rule)]
    if examples:
        parts += ["", text("Matched, for example:", "bold"), *examples]
    parts += ["", text("Nothing was changed.")]
    return Stack(*parts)


def _rules(answer: RuleTest) -> RenderableType:
    grid = table(
        "Rule", "Of", "Failures", "Attempts", "Groups", right=("Failures", "Attempts", "Groups")
    )
    for rule in answer.rules:
        failures: object = rule.failures
        if rule.steps and rule.present_failures != rule.failures:
            failures = f"{rule.failures} (now {rule.present_failures})"
        of = ", ".join(rule.steps) or text("tried", "bold")
        row(grid, text(rule.rule, "green"), of, failures, rule.attempts, rule.groups)
    row(grid, text("no rule", "italic"), "", f"{answer.unmatched} of {answer.failures}", "", "")
    return grid


def _fates(answer: RuleTest) -> RenderableType:
    grid = table(
        "Attempts", "Groups", "Was", "By the present rules", "With these", right=("Attempts",)
    )
    for fate in answer.fates:
        changed = fate.would != fate.present
        row(
            grid,
            fate.attempts,
            fate.groups,
            FATES.get(fate.was, fate.was),
            FATES.get(fate.present, fate.present),
            text(FATES.get(fate.would, fate.would), "bold yellow" if changed else ""),
        )
    return grid


def _examples(rule: TestedRule) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for each in rule.examples:
        what = " ".join(filter(None, (each.task, each.data_id)))
        exit_code = f" (exit {each.exit_code})" if each.HasField("exit_code") else ""
        words = f"{what}: {each.message}" if what else each.message
        lines.append(text(f"  {short_name(each.job)}#{each.attempt}: {words}{exit_code}"))
    return lines
