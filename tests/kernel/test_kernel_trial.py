"""An attempt judged again by other rules gets the verdict that it would have got with them at the time."""

import pytest
from kernel_house import House, policy, quanta

from cmd_daemon.kernel.outcome import ErrorClass, Failure, Outcome, QuantaCount
from cmd_daemon.kernel.policy import ErrorRule, RetryPolicy, RuleAction, StepPolicy
from cmd_daemon.kernel.records import TriedRow
from cmd_daemon.kernel.states import GroupState, JobState
from cmd_daemon.kernel.trial import tried, with_rules
from cmd_daemon.kernel.verdict import Action

BOOM = ErrorRule(RuleAction.FAIL, task="isr", message="bo+m")
KILLED = ErrorRule(RuleAction.HOLD, exit=137)
LOST = ErrorRule(RuleAction.ACCEPT, task="is*", up_to=0.25)
SAYS = ErrorRule(RuleAction.FAIL, message="exit code")
UNKNOWN = Outcome(False, "odd", quanta={"isr": QuantaCount(4, 2, 1, 0, 1)})
OUTCOMES = {
    "quanta failed": quanta(8, 2),
    "most quanta failed": quanta(1, 9),
    "all went well": quanta(4),
    "failed as a whole": Outcome(False, "boom", 137),
    "said nothing": Outcome(False, exit_code=1),
    "cannot be tried again": Outcome(False, "boom", 1, ErrorClass.PERMANENT),
    "counts do not match": UNKNOWN,
}
ONCE = ("all went well", "cannot be tried again")
CASES = [
    (name, attempts)
    for name in OUTCOMES
    for attempts in (1, 2)
    if attempts == 1 or name not in ONCE
]


def ended(steps: StepPolicy, outcome: Outcome, attempts: int = 1) -> tuple[House, TriedRow]:
    """A house whose only group had so many attempts that came to this, and the row of the last one."""
    house = House({"calib": steps}).placed()
    for _ in range(attempts):
        house.run()
        decision = house.end(outcome)
    return house, row(house, decision.attempts[-1])


def row(house: House, attempt: object) -> TriedRow:
    job, group = house.job(), house.group()
    about = (job.kind.value, job.state.value, job.attempt, job.budget_from, group.state.value)
    return TriedRow("calib", "0001", "process", *about, attempt)  # type: ignore[arg-type]


def fate(house: House) -> str:
    """What became of the first job, by the states alone."""
    match house.job().state:
        case JobState.HELD:
            return "review" if house.group().state is GroupState.REVIEW else "hold"
        case JobState.READY:
            return "retry"
        case JobState.FAILED:
            return "fail"
    return "succeed"


@pytest.mark.parametrize("rule", [BOOM, KILLED, LOST, SAYS], ids=lambda rule: rule.action)
@pytest.mark.parametrize(("name", "attempts"), CASES)
def test_the_verdict_is_the_one_it_would_have_been(
    name: str, attempts: int, rule: ErrorRule
) -> None:
    outcome = OUTCOMES[name]
    present = policy(retry=RetryPolicy(attempts=2), at_least=0.9)
    house, past = ended(present, outcome, attempts)
    wanted = with_rules(present, [rule])
    trial = tried(past, present, wanted)
    assert (trial.was, trial.present.action) == (fate(house), fate(house))
    # The same attempts again, in a world where the campaign had the rule when the last one ended.
    again = House({"calib": present}).placed()
    for number in range(attempts):
        again.run()
        if number == attempts - 1:
            again.apply({"calib": wanted})
        again.end(outcome)
    assert trial.would.action == fate(again)
    assert trial.would.reason in (again.job().reason or "")


def test_the_present_rules_win_if_they_come_first() -> None:
    present = policy(errors=(KILLED,))
    _, past = ended(present, Outcome(False, "boom", 137))
    first = tried(past, present, with_rules(present, [ErrorRule(RuleAction.FAIL)]))
    last = tried(past, present, with_rules(present, [ErrorRule(RuleAction.FAIL)], True))
    assert (first.would.action, last.would.action) == (Action.FAIL, Action.HOLD)
    ((_, rule),) = last.matches
    assert rule is KILLED


def test_each_failed_quantum_has_its_own_match() -> None:
    failures = (Failure("isr", message="boom"), Failure("wcs", message="no stars"))
    outcome = Outcome(False, quanta={"isr": QuantaCount(4, 2, 2)}, failures=failures)
    _, past = ended(policy(), outcome)
    trial = tried(past, policy(), with_rules(policy(), [BOOM]))
    assert [(failure.task, rule) for failure, rule in trial.matches] == [
        ("isr", BOOM),
        ("wcs", None),
    ]
    assert [rule for _, rule in trial.present_matches] == [None, None]


def test_before_a_new_budget_an_attempt_was_held() -> None:
    house, past = ended(policy(), Outcome(False, "boom"), attempts=2)
    assert tried(past, policy(), policy()).was == Action.HOLD
    past.budget_from, past.job_attempt, past.job_state = 2, 3, "RUNNING"
    assert tried(past, policy(), policy()).was == Action.HOLD
    assert house.job().state is JobState.HELD
