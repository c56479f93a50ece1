"""What follows from the outcome of an attempt: the acceptance rules of a step, applied.

A driver's "ok" is not enough. For a process job the quanta must agree with the graph; the failed ones
go through the step's error rules, first match wins.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache

from cmd_daemon.kernel.outcome import ErrorClass, Failure, Outcome
from cmd_daemon.kernel.policy import ErrorRule, RuleAction, StepPolicy
from cmd_daemon.kernel.states import JobKind

MISSING_ONLY, FROM_START = "missing-only", "from-start"
"""Modes of an attempt: only the quanta that did not succeed; or all, as if nothing had been made."""

MESSAGE_LIMIT = 2000
"""Characters of a failure message that rules look at."""


class Action(StrEnum):
    """What to do with the job."""

    SUCCEED = "succeed"
    RETRY = "retry"
    REVIEW = "review"
    HOLD = "hold"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The action, the reason in words, the quanta given up, and how a retry treats former results."""

    action: Action
    reason: str = ""
    lost: int = 0
    mode: str = ""


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def first_match(rules: Iterable[ErrorRule], failure: Failure) -> ErrorRule | None:
    """The first rule that matches a failure, or None."""
    for rule in rules:
        if rule.task is not None and not fnmatchcase(failure.task, rule.task):
            continue
        if rule.exit is not None and rule.exit != failure.exit:
            continue
        if rule.message is not None and not _pattern(rule.message).search(
            failure.message[:MESSAGE_LIMIT]
        ):
            continue
        return rule
    return None


def judge(
    policy: StepPolicy, kind: JobKind, outcome: Outcome, attempts_used: int, accepted: bool = False
) -> Verdict:
    """The verdict on a finished attempt.

    `attempts_used` counts the attempts since a person last gave a new budget, this one included;
    `accepted` tells that a person already accepts losses. Never raises.
    """
    if _without_quanta(kind, outcome):
        if outcome.ok:
            return Verdict(Action.SUCCEED)
        what = outcome.message or f"exit code {outcome.exit_code}"
        return _judge_whole(policy, outcome, attempts_used, what)
    if not _counts_agree(outcome):
        return _judge_whole(policy, outcome, attempts_used, _mismatch(outcome))
    if outcome.successful == outcome.expected:
        return Verdict(Action.SUCCEED)
    return _judge_quanta(policy, outcome, attempts_used, accepted)


def matches(
    policy: StepPolicy, kind: JobKind, outcome: Outcome
) -> list[tuple[Failure, ErrorRule | None]]:
    """The failures that `judge` asks the error rules about, each with the rule that matches it. Of an
    attempt that failed as a whole (task "") only one, which no rule can accept; of one that went well
    none."""
    if _without_quanta(kind, outcome):
        return [] if outcome.ok else [_whole(policy, outcome)]
    if not _counts_agree(outcome):
        return [_whole(policy, outcome)]
    if outcome.successful == outcome.expected:
        return []
    return [(failure, first_match(policy.errors, failure)) for failure in outcome.failures]


def _without_quanta(kind: JobKind, outcome: Outcome) -> bool:
    return kind is not JobKind.PROCESS or not outcome.quanta


def _whole(policy: StepPolicy, outcome: Outcome) -> tuple[Failure, ErrorRule | None]:
    failure = Failure(message=outcome.message, exit=outcome.exit_code)
    able = (rule for rule in policy.errors if rule.action is not RuleAction.ACCEPT)
    return failure, first_match(able, failure)


def _budget(policy: StepPolicy, outcome: Outcome, used: int) -> bool:
    return used < policy.retry.attempts and outcome.error_class is not ErrorClass.PERMANENT


def _judge_whole(policy: StepPolicy, outcome: Outcome, used: int, what: str) -> Verdict:
    """An attempt that failed as a whole, or whose counts say nothing: no part of it can be accepted."""
    rescue = MISSING_ONLY if outcome.successful else ""
    _, rule = _whole(policy, outcome)
    match rule and rule.action:
        case RuleAction.FAIL:
            return Verdict(Action.FAIL, f"an error rule ends the group: {what}")
        case RuleAction.HOLD:
            return Verdict(Action.HOLD, f"an error rule holds the group: {what}")
        case None if outcome.error_class is ErrorClass.PERMANENT:
            return Verdict(Action.HOLD, what)
    if used < policy.retry.attempts:
        return Verdict(Action.RETRY, what, mode=rescue)
    return Verdict(Action.HOLD, f"{used} of {policy.retry.attempts} attempts used; last: {what}")


def _counts_agree(outcome: Outcome) -> bool:
    """True if each task's quanta are all accounted for, and the driver's word fits them."""
    for count in outcome.quanta.values():
        parts = (count.successful, count.failed, count.blocked)
        if count.unknown or min(parts) < 0 or sum(parts) != count.expected:
            return False
    return outcome.ok or outcome.successful < outcome.expected


def _mismatch(outcome: Outcome) -> str:
    unknown = sum(q.unknown for q in outcome.quanta.values())
    lost = sum(q.failed + q.blocked for q in outcome.quanta.values())
    what = (
        f"the counts do not match the graph: {outcome.expected} quanta expected, "
        f"{outcome.successful} succeeded, {lost} failed or blocked, {unknown} of unknown fate"
    )
    return f"{what} ({outcome.message})" if outcome.message else what


def _judge_quanta(policy: StepPolicy, outcome: Outcome, used: int, accepted: bool) -> Verdict:
    expected, good = outcome.expected, outcome.successful
    missing = expected - good
    actions: dict[RuleAction | None, int] = {}
    forgiven: dict[int, int] = {}
    for _, rule in matches(policy, JobKind.PROCESS, outcome):
        action = rule.action if rule else None
        if rule is not None and action is RuleAction.ACCEPT:
            forgiven[id(rule)] = forgiven.get(id(rule), 0) + 1
            if forgiven[id(rule)] / expected > rule.up_to:
                action = None
        actions[action] = actions.get(action, 0) + 1
    what = f"{missing} of {expected} quanta did not succeed"
    if outcome.failures:
        first = outcome.failures[0]
        where = f"{first.task} {first.data_id}".strip() or "the attempt"
        what += f"; first: {where}: {first.message[:300]}"
    if RuleAction.FAIL in actions:
        return Verdict(Action.FAIL, f"an error rule ends the group: {what}", missing)
    if RuleAction.HOLD in actions:
        return Verdict(Action.HOLD, f"an error rule holds the group: {what}", missing)
    rescue = MISSING_ONLY if good else ""
    if RuleAction.RETRY in actions and used < policy.retry.attempts:
        return Verdict(Action.RETRY, what, mode=rescue)

    if accepted:
        return Verdict(Action.SUCCEED, f"accepted by a person with losses: {what}", missing)
    # Blocked quanta follow the failed ones they depend on: they are lost with them, and the share
    # that rules forgive is taken off the bar. Failures beyond the sample are forgiven by nobody.
    failed = sum(q.failed for q in outcome.quanta.values())
    pardoned = min(actions.get(RuleAction.ACCEPT, 0), missing)
    only_forgiven = set(actions) == {RuleAction.ACCEPT} and len(outcome.failures) >= failed
    if only_forgiven or (good + pardoned) / expected >= policy.at_least:
        return Verdict(Action.SUCCEED, f"accepted with losses: {what}", missing)
    if _budget(policy, outcome, used):
        return Verdict(Action.RETRY, what, mode=rescue)
    bar = f"{_percent(good / expected)} of the quanta succeeded, {_percent(policy.at_least)} are asked for"
    return Verdict(Action.REVIEW, f"{bar}: {what}", missing)


def _percent(share: float) -> str:
    """Rounded down: what is not all is never 100 %."""
    return f"{math.floor(share * 10_000 + 1e-6) / 100:g} %"
