"""Error rules tried on the attempts there have been: the kernel judges, here it is counted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cmd_api.v1 import statistics_pb2 as pb
from cmd_daemon.kernel.outcome import Failure
from cmd_daemon.kernel.policy import ErrorRule, StepPolicy
from cmd_daemon.kernel.records import TriedRow
from cmd_daemon.kernel.trial import Trial, tried, with_rules
from cmd_daemon.spec import rule_text

MESSAGE = 500
"""Characters of an example's message."""


@dataclass(slots=True)
class _Rule:
    steps: list[str]
    failures: int = 0
    present_failures: int = 0
    attempts: set[tuple[str, int]] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    facilities: Counter[str] = field(default_factory=Counter)
    examples: list[pb.TestedFailure] = field(default_factory=list)


@dataclass(slots=True)
class _Fate:
    attempts: int = 0
    groups: set[str] = field(default_factory=set)
    examples: list[pb.TestedAttempt] = field(default_factory=list)


class RuleTrial:
    """Counts attempts one after the other. `policies` are those of the steps, by name."""

    def __init__(
        self,
        campaign: str,
        policies: Mapping[str, StepPolicy],
        rules: Sequence[ErrorRule],
        after_present: bool,
        examples: int,
    ) -> None:
        self._campaign = campaign
        self._present = policies
        self._wanted = {
            step: with_rules(policy, rules, after_present) for step, policy in policies.items()
        }
        self._examples = examples
        # A rule asked about may be equal to one that a step has: they are told apart by identity.
        self._asked = [_Rule([]) for _ in rules]
        self._own: dict[ErrorRule, _Rule] = {}
        self._by_id = {id(rule): each for rule, each in zip(rules, self._asked, strict=True)}
        for step, policy in policies.items():
            for rule in policy.errors:
                each = self._own.setdefault(rule, _Rule([]))
                if step not in each.steps:
                    each.steps.append(step)
                self._by_id[id(rule)] = each
        self._texts = [rule_text(rule) for rule in (*rules, *self._own)]
        self._fates: dict[tuple[str, str, str], _Fate] = {}
        self._attempts = self._changed = self._failures = self._unmatched = 0

    def run(self, rows: Iterable[TriedRow], total: int) -> pb.RuleTest:
        """Judge these attempts, of `total`, and tell what came out."""
        for row in rows:
            self._one(row, tried(row, self._present[row.step], self._wanted[row.step]))
        fates = sorted(self._fates.items(), key=lambda pair: (-pair[1].attempts, pair[0]))
        counted = zip(self._texts, (*self._asked, *self._own.values()), strict=True)
        return pb.RuleTest(
            rules=[
                pb.TestedRule(
                    rule=text,
                    steps=each.steps,
                    failures=each.failures,
                    attempts=len(each.attempts),
                    groups=len(each.groups),
                    present_failures=each.present_failures,
                    facilities=each.facilities,
                    examples=each.examples,
                )
                for text, each in counted
            ],
            fates=[
                pb.TestedFate(
                    was=was,
                    present=present,
                    would=would,
                    attempts=fate.attempts,
                    groups=len(fate.groups),
                    examples=fate.examples,
                )
                for (was, present, would), fate in fates
            ],
            attempts=self._attempts,
            changed=self._changed,
            failures=self._failures,
            unmatched=self._unmatched,
            left_out=total - self._attempts,
        )

    def _one(self, row: TriedRow, trial: Trial) -> None:
        group = f"campaigns/{self._campaign}/steps/{row.step}/groups/{row.group}"
        job = f"{group}/jobs/{row.job}"
        self._attempts += 1
        self._changed += trial.would.action is not trial.present.action
        for _, rule in trial.present_matches:
            if rule is not None:
                self._by_id[id(rule)].present_failures += 1
        for failure, rule in trial.matches:
            self._failures += 1
            if rule is None:
                self._unmatched += 1
                continue
            each = self._by_id[id(rule)]
            each.failures += 1
            each.groups.add(group)
            each.facilities[row.attempt.facility] += 1
            if (job, row.attempt.number) not in each.attempts:
                each.attempts.add((job, row.attempt.number))
                if len(each.examples) < self._examples:
                    each.examples.append(_example(job, row, failure))
        key = (str(trial.was), str(trial.present.action), str(trial.would.action))
        fate = self._fates.setdefault(key, _Fate())
        fate.attempts += 1
        fate.groups.add(group)
        if len(fate.examples) < self._examples:
            reason = trial.would.reason[:MESSAGE]
            fate.examples.append(
                pb.TestedAttempt(job=job, attempt=row.attempt.number, reason=reason)
            )


def _example(job: str, row: TriedRow, failure: Failure) -> pb.TestedFailure:
    told = pb.TestedFailure(
        job=job,
        attempt=row.attempt.number,
        facility=f"facilities/{row.attempt.facility}" if row.attempt.facility else "",
        task=failure.task,
        data_id=failure.data_id,
        message=failure.message[:MESSAGE],
    )
    if failure.exit is not None:
        told.exit_code = failure.exit
    return told
