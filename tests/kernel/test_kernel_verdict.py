"""The acceptance rules: what follows from the end of an attempt."""

import pytest

from cmd_daemon.kernel.outcome import ErrorClass, Failure, Outcome, QuantaCount
from cmd_daemon.kernel.policy import ErrorRule, Resources, RetryPolicy, RuleAction, StepPolicy
from cmd_daemon.kernel.retry import SECOND, backoff, call_backoff, memory
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.kernel.verdict import Action, first_match, judge

RETRY, ACCEPT, HOLD, FAIL = RuleAction.RETRY, RuleAction.ACCEPT, RuleAction.HOLD, RuleAction.FAIL
PERMANENT = ErrorClass.PERMANENT


def rule(action: RuleAction, **match: object) -> ErrorRule:
    return ErrorRule(action, **match)  # type: ignore[arg-type]


def run(
    good: int, failed: int = 0, blocked: int = 0, message: str = "boom", sample: int | None = None
) -> Outcome:
    failures = tuple(
        Failure("isr", f"visit={i}", message, 1)
        for i in range(failed if sample is None else sample)
    )
    count = QuantaCount(good + failed + blocked, good, failed, blocked)
    return Outcome(not failed + blocked, quanta={"isr": count}, failures=failures)


WHOLE: list[tuple[Outcome, tuple[ErrorRule, ...], int, Action]] = [
    (Outcome(True), (), 1, Action.SUCCEED),
    (Outcome(True), (rule(FAIL),), 1, Action.SUCCEED),
    (Outcome(False), (), 1, Action.RETRY),
    (Outcome(False), (), 2, Action.RETRY),
    (Outcome(False), (), 3, Action.HOLD),
    (Outcome(False, error_class=PERMANENT), (), 1, Action.HOLD),
    (Outcome(False, error_class=PERMANENT), (rule(RETRY),), 1, Action.RETRY),
    (Outcome(False, exit_code=137), (rule(FAIL, exit=137),), 1, Action.FAIL),
    (Outcome(False, exit_code=1), (rule(FAIL, exit=137),), 1, Action.RETRY),
    (Outcome(False, "disk full"), (rule(HOLD, message="disk (full|gone)"),), 1, Action.HOLD),
    (Outcome(False, "x"), (rule(RETRY, message="x"), rule(FAIL)), 1, Action.RETRY),
    (Outcome(False, "x"), (rule(FAIL), rule(RETRY, message="x")), 1, Action.FAIL),
    # Nothing can be accepted of an attempt that failed as a whole, nor is a task's rule about it.
    (Outcome(False, "x"), (rule(ACCEPT, message="x"),), 1, Action.RETRY),
    (Outcome(False, "x"), (rule(FAIL, task="isr"),), 1, Action.RETRY),
]


@pytest.mark.parametrize("kind", [JobKind.SCRIPT, JobKind.PROCESS])
@pytest.mark.parametrize(("outcome", "rules", "used", "action"), WHOLE)
def test_attempts_judged_as_a_whole(
    kind: JobKind, outcome: Outcome, rules: tuple[ErrorRule, ...], used: int, action: Action
) -> None:
    assert judge(StepPolicy(errors=rules), kind, outcome, used).action is action


FLAT = (rule(ACCEPT, message="No flat", up_to=0.1),)
QUANTA: list[tuple[str, Outcome, dict[str, object], int, Action]] = [
    ("all", run(10), {}, 1, Action.SUCCEED),
    ("none expected", Outcome(True, quanta={"isr": QuantaCount()}), {}, 1, Action.SUCCEED),
    ("one lost", run(9, 1), {}, 1, Action.RETRY),
    ("one lost, last try", run(9, 1), {}, 3, Action.REVIEW),
    ("exactly at least", run(49, 1), {"at_least": 0.98}, 1, Action.SUCCEED),
    ("just below", run(48, 2), {"at_least": 0.98}, 3, Action.REVIEW),
    (
        "retry rule goes first",
        run(49, 1),
        {"at_least": 0.5, "errors": (rule(RETRY),)},
        1,
        Action.RETRY,
    ),
    ("retry used up", run(49, 1), {"at_least": 0.5, "errors": (rule(RETRY),)}, 3, Action.SUCCEED),
    ("fail rule", run(9, 1), {"at_least": 0.1, "errors": (rule(FAIL, exit=1),)}, 1, Action.FAIL),
    ("hold rule", run(9, 1), {"at_least": 0.1, "errors": (rule(HOLD, task="i*"),)}, 1, Action.HOLD),
    ("other task", run(9, 1), {"errors": (rule(HOLD, task="warp*"),)}, 1, Action.RETRY),
    ("forgiven", run(90, 10, message="No flat"), {"errors": FLAT}, 1, Action.SUCCEED),
    ("one too many", run(89, 11, message="No flat"), {"errors": FLAT}, 3, Action.REVIEW),
    (
        "excess under the bar",
        run(89, 11, message="No flat"),
        {"errors": FLAT, "at_least": 0.99},
        1,
        Action.SUCCEED,
    ),
    (
        "share not rounded",
        run(71, 29, message="No flat"),
        {"errors": (rule(ACCEPT, up_to=0.29),)},
        1,
        Action.SUCCEED,
    ),
    ("blocked follow", run(80, 5, 15, "No flat"), {"errors": FLAT}, 1, Action.SUCCEED),
    (
        "sample too small",
        run(50, 50, message="No flat", sample=5),
        {"errors": FLAT},
        3,
        Action.REVIEW,
    ),
    (
        "permanent",
        Outcome(False, error_class=PERMANENT, quanta={"a": QuantaCount(2, 1, 1)}),
        {},
        1,
        Action.REVIEW,
    ),
    (
        "lies: ok with losses",
        Outcome(True, quanta={"a": QuantaCount(10, 5, 5)}),
        {},
        3,
        Action.REVIEW,
    ),
    (
        "lies: quanta missing",
        Outcome(True, quanta={"a": QuantaCount(10, 9)}),
        {"at_least": 0.1},
        3,
        Action.HOLD,
    ),
    ("lies: too many", Outcome(True, quanta={"a": QuantaCount(9, 10)}), {}, 3, Action.HOLD),
    (
        "lies: even only in sum",
        Outcome(True, quanta={"a": QuantaCount(10, 11), "b": QuantaCount(10, 9)}),
        {},
        1,
        Action.RETRY,
    ),
    ("lies: negative", Outcome(True, quanta={"a": QuantaCount(0, -1, 1)}), {}, 3, Action.HOLD),
    ("not ok, all there", Outcome(False, quanta={"a": QuantaCount(10, 10)}), {}, 1, Action.RETRY),
    (
        "unknown fate",
        Outcome(True, quanta={"a": QuantaCount(10, 9, unknown=1)}),
        {"at_least": 0.1},
        1,
        Action.RETRY,
    ),
    (
        "killed, rule by exit",
        Outcome(False, exit_code=137, quanta={"a": QuantaCount(10, 5, unknown=5)}),
        {"errors": (rule(HOLD, exit=137),)},
        1,
        Action.HOLD,
    ),
]


@pytest.mark.parametrize(
    ("outcome", "changes", "used", "action"), [c[1:] for c in QUANTA], ids=[c[0] for c in QUANTA]
)
def test_process_attempts_are_judged_by_their_quanta(
    outcome: Outcome, changes: dict[str, object], used: int, action: Action
) -> None:
    verdict = judge(StepPolicy(**changes), JobKind.PROCESS, outcome, used)  # type: ignore[arg-type]
    assert verdict.action is action
    if action is Action.RETRY:
        assert verdict.mode == ("missing-only" if outcome.successful else "")
    if action is not Action.SUCCEED:
        assert verdict.reason


def test_losses_are_counted_and_told() -> None:
    verdict = judge(StepPolicy(at_least=0.9), JobKind.PROCESS, run(95, 4, 1), 1)
    assert (verdict.action, verdict.lost) == (Action.SUCCEED, 5)
    assert "5 of 100 quanta did not succeed; first: isr visit=0: boom" in verdict.reason


def test_a_person_who_takes_losses_is_believed_after_the_rules() -> None:
    assert judge(StepPolicy(), JobKind.PROCESS, run(1, 9), 3, accepted=True).lost == 9
    strict = StepPolicy(errors=(rule(FAIL),))
    assert judge(strict, JobKind.PROCESS, run(1, 9), 3, accepted=True).action is Action.FAIL


def test_the_first_rule_that_matches_in_every_field_wins() -> None:
    rules = [rule(HOLD, task="isr", exit=2), rule(FAIL, message="^No"), rule(RETRY)]
    assert first_match(rules, Failure("isr", exit=2)) is rules[0]
    assert first_match(rules, Failure("isr", message="No flat", exit=1)) is rules[1]
    assert first_match(rules, Failure("warp", message="so No")) is rules[2]
    assert first_match(rules[:2], Failure("warp")) is None
    assert first_match([rule(FAIL, message="end")], Failure(message="x" * 5000 + "end")) is None


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 60), (2, 120), (3, 240), (6, 1920), (7, 3600), (10**6, 3600)]
)
def test_backoff_doubles_up_to_its_bound(attempts: int, seconds: int) -> None:
    assert backoff(RetryPolicy(), attempts) == seconds * SECOND


def test_pauses_between_calls() -> None:
    assert [call_backoff(n) // SECOND for n in (1, 2, 3, 8, 9, 99)] == [2, 4, 8, 256, 300, 300]


@pytest.mark.parametrize(
    ("factor", "most", "attempt", "gigabytes"),
    [
        (1.0, None, 9, 4.0),
        (2.0, None, 1, 4.0),
        (2.0, None, 3, 16.0),
        (1.5, None, 2, 6.0),
        (2.0, 10, 2, 8.0),
        (2.0, 10, 3, 10.0),
        (2.0, 1, 3, 4.0),
        (100.0, None, 10**9, 2.0**20),
    ],
)
def test_memory_grows_as_in_bps(
    factor: float, most: int | None, attempt: int, gigabytes: float
) -> None:
    gb = 1024**3
    policy = RetryPolicy(memory_factor=factor, memory_max=most * gb if most else None)
    assert memory(Resources(memory=4 * gb), policy, attempt) == gigabytes * gb
