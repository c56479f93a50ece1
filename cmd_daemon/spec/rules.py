"""Error rules by themselves: checked, compiled, read from a text of their own, and written as one."""

import json
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from cmd_daemon.kernel.outcome import Failure
from cmd_daemon.kernel.policy import ErrorRule, RuleAction
from cmd_daemon.kernel.verdict import MESSAGE_LIMIT, first_match
from cmd_daemon.spec.model import ErrorRuleSection, Section
from cmd_daemon.spec.patterns import pattern_problem
from cmd_daemon.spec.problems import CampaignFileError, Path
from cmd_daemon.spec.reading import Document, read_value
from cmd_daemon.spec.shape import shaped

MOST_RULES = 200


class _RulesFile(Section):
    errors: Annotated[list[ErrorRuleSection], Field(min_length=1, max_length=MOST_RULES)]


def read_rules(text: str, *, file: str) -> tuple[ErrorRule, ...]:
    """Error rules written as in a campaign file: a list, one rule, or a mapping with `errors`.

    Raises CampaignFileError with all that is wrong, in the words of a campaign file.
    """
    document = read_value(text, file)
    if not isinstance(document.data, dict) or "errors" not in document.data:
        alone = not isinstance(document.data, list)
        _put_below(document, ("errors", 0) if alone else ("errors",))
        document.data = {"errors": [document.data] if alone else document.data}
    model = shaped(document, _RulesFile)
    rules = model.errors if model is not None else []
    for at, rule in enumerate(rules):
        check_rule(rule, ("errors", at), document)
    if document.problems:
        raise CampaignFileError(document.problems)
    return compiled(rules)


def _put_below(document: Document, above: Path) -> None:
    document.values = {(*above, *path): place for path, place in document.values.items()}
    document.keys = {(*above, *path): place for path, place in document.keys.items()}
    document.texts = {(*above, *path): text for path, text in document.texts.items()}
    document.unknown = {(*above, *path) for path in document.unknown}


def check_rule(rule: ErrorRuleSection, path: Path, document: Document) -> None:
    """Note what is wrong with a rule that stands at `path`."""
    if rule.message is not None and (words := pattern_problem(rule.message)):
        document.add((*path, "message"), words)
    if rule.up_to is not None and rule.action is not RuleAction.ACCEPT:
        document.add((*path, "up_to"), "'up_to' goes with 'action: accept' only", of_key=True)


def matches_all(rule: ErrorRuleSection) -> bool:
    """Whether no rule after this one is ever reached."""
    nothing_asked = rule.task is None and rule.message is None and rule.exit is None
    return nothing_asked and rule.up_to in (None, 1.0)


def compiled(rules: Iterable[ErrorRuleSection]) -> tuple[ErrorRule, ...]:
    """The rules as the kernel has them."""
    return tuple(
        ErrorRule(
            action=rule.action,
            task=rule.task,
            message=rule.message,
            exit=rule.exit,
            up_to=1.0 if rule.up_to is None else rule.up_to,
        )
        for rule in rules
    )


def rule_text(rule: ErrorRule) -> str:
    """The rule as one line of YAML that can stand in a campaign file's `errors:`."""
    parts: list[str] = []
    if rule.task is not None:
        parts.append(f"task: {json.dumps(rule.task)}")
    if rule.message is not None:
        parts.append(f"message: {json.dumps(rule.message)}")
    if rule.exit is not None:
        parts.append(f"exit: {rule.exit}")
    parts.append(f"action: {rule.action.value}")
    if rule.action is RuleAction.ACCEPT and rule.up_to < 1:
        parts.append(f"up_to: {rule.up_to:g}")
    return "{" + ", ".join(parts) + "}"


def proposed_rule(expression: str, failure: Failure, action: RuleAction) -> ErrorRule | None:
    """A rule for failures like this one, whose messages `expression` is to find; None if no rule that a
    campaign file may have tells them from others."""
    message = expression if expression and pattern_problem(expression) is None else None
    usable = failure.exit is None or -255 <= failure.exit <= 255
    rule = ErrorRule(action, failure.task or None, message, failure.exit if usable else None)
    told = rule.message is not None or rule.exit is not None
    cut = Failure(failure.task, failure.data_id, failure.message[:MESSAGE_LIMIT], failure.exit)
    return rule if told and first_match((rule,), cut) is not None else None
