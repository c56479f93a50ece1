"""Former attempts judged again by other rules: what `judge` would have said, and what did happen."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cmd_daemon.kernel.outcome import ErrorClass, Failure, Outcome, QuantaCount
from cmd_daemon.kernel.policy import ErrorRule, StepPolicy
from cmd_daemon.kernel.records import AttemptRow, TriedRow
from cmd_daemon.kernel.states import GroupState, JobKind, JobState
from cmd_daemon.kernel.verdict import Action, Verdict, judge, matches

CANCELLED = "cancelled"

Matches = list[tuple[Failure, ErrorRule | None]]


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt: what became of it (an action, or cancelled), and the verdicts and matches of the
    present rules and of those that are tried."""

    was: str
    present: Verdict
    would: Verdict
    present_matches: Matches
    matches: Matches


def with_rules(
    policy: StepPolicy, rules: Sequence[ErrorRule], after_present: bool = False
) -> StepPolicy:
    """The policy with more rules, before its own or after them."""
    both = (*policy.errors, *rules) if after_present else (*rules, *policy.errors)
    return replace(policy, errors=both)


def tried(row: TriedRow, present: StepPolicy, wanted: StepPolicy) -> Trial:
    """Judge an attempt again. Losses that a person accepted since are not taken as accepted; of attempts
    before a person gave a new budget the number stands for those used."""
    kind, attempt = JobKind(row.kind), row.attempt
    used = attempt.number
    if attempt.number > row.budget_from:
        used -= row.budget_from
    outcome = outcome_of(attempt)
    # An attempt that said nothing was stored with the reason of its verdict.
    silent = replace(outcome, message="")
    if not outcome.failures and judge(present, kind, silent, used).reason == outcome.message:
        outcome = silent
    return Trial(
        was=_was(row),
        present=judge(present, kind, outcome, used),
        would=judge(wanted, kind, outcome, used),
        present_matches=matches(present, kind, outcome),
        matches=matches(wanted, kind, outcome),
    )


def outcome_of(row: AttemptRow) -> Outcome:
    """The outcome that an attempt was stored with."""
    quanta = json.loads(row.quanta) if row.quanta else {}
    failures = json.loads(row.failures) if row.failures else []
    return Outcome(
        ok=row.state == "SUCCEEDED",
        message=row.message,
        exit_code=row.exit_code,
        error_class=ErrorClass(row.error_class) if row.error_class else None,
        quanta={task: QuantaCount(**count) for task, count in quanta.items()},
        failures=tuple(Failure(**failure) for failure in failures),
    )


def _was(row: TriedRow) -> str:
    if row.attempt.state == "SUCCEEDED":
        return Action.SUCCEED
    if row.attempt.number < row.job_attempt:
        # A person gave a new budget: it was not tried again by itself.
        return Action.HOLD if row.attempt.number == row.budget_from else Action.RETRY
    match JobState(row.job_state):
        case JobState.HELD | JobState.SUCCEEDED:
            return Action.REVIEW if row.group_state == GroupState.REVIEW else Action.HOLD
        case JobState.FAILED:
            return Action.FAIL
        case JobState.CANCELLED:
            return CANCELLED
    return Action.RETRY
