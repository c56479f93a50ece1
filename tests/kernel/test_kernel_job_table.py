"""Every pair of job state and job event: where it leads, or that it is void."""

from collections.abc import Callable

import pytest
from kernel_house import House, policy

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.invariants import problems
from cmd_daemon.kernel.outcome import ErrorClass, Outcome
from cmd_daemon.kernel.policy import RetryPolicy
from cmd_daemon.kernel.states import JOB_MOVES, JobState


def at(state: str) -> House:
    """A house whose first job stands in a state (`+` : while the campaign is cancelled)."""
    name, _, cancelling = state.partition("+")
    house = House()
    house.split("0001", "0002")
    if name == "unplaced":
        return house
    house.place()
    if name in ("SUBMITTING", "HELD", "UNCERTAIN"):
        house.admit()
    if name in ("RUNNING", "SUCCEEDED"):
        house.run()
    if name == "SUCCEEDED":
        house.end()
    if name == "HELD":
        house.fail_submit(ErrorClass.PERMANENT)
    if name == "UNCERTAIN":
        house.fail_submit(ErrorClass.UNKNOWN, repeatable=False)
    if name == "BACKOFF":
        house.run()
        house.end(Outcome(False, "boom"))
    if name == "RECALL":
        house.admit()
        house.fail_submit(ErrorClass.TRANSIENT)
    if name in ("FAILED", "CANCELLED"):
        house.do(ev.GroupRejected(group_id=house.group().id))
    if cancelling:
        house.wish(ev.CampaignCancelled)
        house.sweep()
    return house


def failed(error: ErrorClass, repeatable: bool = True) -> Callable[[House], ev.Event]:
    return lambda h: h.job_event(
        ev.SubmitFailed, error_class=error, message="no", repeatable=repeatable
    )


EVENTS: dict[str, Callable[[House], ev.Event]] = {
    "admitted": lambda h: h.job_event(ev.JobAdmitted),
    "taken": lambda h: h.job_event(ev.JobTaken, ref="r"),
    "transient": failed(ErrorClass.TRANSIENT),
    "not-yet": failed(ErrorClass.NOT_YET),
    "permanent": failed(ErrorClass.PERMANENT),
    "unknown": failed(ErrorClass.UNKNOWN),
    "unknown!": failed(ErrorClass.UNKNOWN, repeatable=False),
    "look-up-failed": lambda h: h.job_event(ev.LookUpFailed, message="away"),
    "absent": lambda h: h.job_event(ev.JobAbsent),
    "seen": lambda h: h.job_event(ev.JobSeen, running=True, progress="{}"),
    "ok": lambda h: h.job_event(ev.JobEnded, outcome=Outcome(True)),
    "bad": lambda h: h.job_event(ev.JobEnded, outcome=Outcome(False, "boom")),
    "gone": lambda h: h.job_event(ev.JobGone),
    "cancel-failed": lambda h: h.job_event(ev.CancelFailed, message="no"),
    "answered": lambda h: h.job_event(ev.CommandAnswered, number=7, done=True),
    "timer": lambda h: ev.TimerFired(entity_id=h.job().id, due_at=h.job().due_at or 7),
}
TABLE: dict[str, dict[str, str]] = {
    "unplaced": {},
    "READY": {"admitted": "SUBMITTING"},
    "BACKOFF": {"timer": "READY"},
    "SUBMITTING": {
        "taken": "RUNNING",
        "transient": "SUBMITTING",
        "not-yet": "READY",
        "permanent": "HELD",
        "unknown": "SUBMITTING",
        "unknown!": "UNCERTAIN",
        "look-up-failed": "SUBMITTING",
    },
    "RECALL": {
        "taken": "RUNNING",
        "transient": "SUBMITTING",
        "not-yet": "READY",
        "permanent": "HELD",
        "unknown": "SUBMITTING",
        "unknown!": "UNCERTAIN",
        "look-up-failed": "SUBMITTING",
        "timer": "SUBMITTING",
    },
    "RUNNING": {"seen": "RUNNING", "ok": "SUCCEEDED", "bad": "READY", "gone": "READY"},
    "UNCERTAIN": {"taken": "RUNNING"},
    "HELD": {},
    "SUCCEEDED": {},
    "FAILED": {},
    "CANCELLED": {},
    "READY+cancel": {},
    "SUBMITTING+cancel": {
        "taken": "RUNNING",
        "transient": "CANCELLED",
        "not-yet": "CANCELLED",
        "permanent": "CANCELLED",
        "unknown": "SUBMITTING",
        "unknown!": "UNCERTAIN",
        "look-up-failed": "SUBMITTING",
        "absent": "CANCELLED",
    },
    "RUNNING+cancel": {
        "seen": "RUNNING",
        "ok": "SUCCEEDED",
        "bad": "CANCELLED",
        "gone": "CANCELLED",
        "cancel-failed": "RUNNING",
        "timer": "RUNNING",
    },
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", TABLE)
def test_every_pair_is_declared(state: str, event: str) -> None:
    house = at(state)
    happens = EVENTS[event](house)
    assert house.verdict(happens, house.job().id) == TABLE[state].get(event, "void")
    house.do(happens)
    assert problems(house.view, house.effects) == []


@pytest.mark.parametrize("event", [e for e in EVENTS if e != "timer"])
@pytest.mark.parametrize("state", TABLE)
def test_another_attempt_is_void(state: str, event: str) -> None:
    house = at(state)
    told = EVENTS[event](house)
    assert isinstance(told, ev.JobEvent)
    values = {name: getattr(told, name) for name in told.__dataclass_fields__}
    for other in (told.attempt - 1, told.attempt + 1):
        assert house.verdict(type(told)(**values | {"attempt": other}), house.job().id) == "void"


def test_final_states_have_no_way_out() -> None:
    for state in (JobState.FAILED, JobState.CANCELLED):
        assert JOB_MOVES[state] == frozenset()
    # A group that a person moves begins anew, with the jobs it had done.
    assert JOB_MOVES[JobState.SUCCEEDED] == {JobState.WAITING, JobState.READY}


def test_a_submission_is_intended_with_its_key() -> None:
    house = at("READY")
    decision = house.admit()
    assert [effect.key for effect in decision.effects] == ["drp/calib/0001/process#1:submit"]
    assert house.job().attempt == 1
    assert str(house.group().state) == "RUNNING"
    decision = house.do(house.job_event(ev.JobTaken, ref="r"))
    assert decision.effects_done == ["drp/calib/0001/process#1:submit"]
    assert house.job().ref == "r"


def test_not_yet_uses_up_no_attempt_and_waits() -> None:
    house = at("SUBMITTING")
    house.fail_submit(ErrorClass.NOT_YET)
    assert house.job().attempt == 0
    assert house.effects == {}
    due = house.job().due_at
    assert due is not None
    assert house.verdict(house.job_event(ev.JobAdmitted), house.job().id) == "void"
    house.admit()
    assert house.job().attempt == 1


def test_a_failed_call_is_made_again_after_its_pause() -> None:
    house = at("RECALL")
    assert house.job().submit_tries == 1
    due = house.job().due_at
    assert due == house.now + 2_000_000
    assert house.verdict(ev.TimerFired(entity_id=house.job().id, due_at=due + 1), 0) == "void"
    decision = house.do(ev.TimerFired(entity_id=house.job().id, due_at=due))
    assert decision.recalls == [house.job().id]
    assert decision.effects == []
    assert set(house.effects) == {"drp/calib/0001/process#1:submit"}


@pytest.mark.parametrize(
    ("error", "state"), [(ErrorClass.TRANSIENT, "HELD"), (ErrorClass.UNKNOWN, "UNCERTAIN")]
)
def test_calls_are_used_up(error: ErrorClass, state: str) -> None:
    house = at("SUBMITTING")
    attempts = []
    for _ in range(8):
        attempts += house.fail_submit(error).attempts
    assert str(house.job().state) == state
    assert str(house.group().state) == "HELD"
    assert house.effects == {}
    # A certain failure is a finished attempt; an unclear one may still turn out to be running.
    assert [row.number for row in attempts] == ([1] if state == "HELD" else [])


def test_retries_are_budgeted_from_the_last_wish_of_a_person() -> None:
    house = House({"calib": policy(retry=RetryPolicy(attempts=2, backoff_s=10.0))})
    house.placed().run()
    house.end(Outcome(False, "boom"))
    assert house.job().due_at == house.now + 10_000_000
    house.run()
    house.end(Outcome(False, "boom"))
    assert str(house.job().state) == "HELD"
    assert "2 of 2 attempts used" in str(house.group().reason)
    house.do(ev.GroupRetried(group_id=house.group().id, mode="from-start"))
    assert (house.job().budget_from, house.job().fresh_from) == (2, 2)
    house.run()
    house.end(Outcome(False, "boom"))
    assert str(house.job().state) == "READY"
    assert house.job().attempt == 3


def test_a_cancel_is_asked_again_until_the_attempt_is_over() -> None:
    house = at("RUNNING+cancel")
    key = "drp/calib/0001/process#1:cancel"
    assert set(house.effects) == {key}
    house.do(house.job_event(ev.CancelFailed, message="no"))
    assert set(house.effects) == {key}
    due = house.job().due_at
    assert due is not None
    decision = house.do(ev.TimerFired(entity_id=house.job().id, due_at=due))
    assert (decision.effects_done, [e.key for e in decision.effects]) == ([key], [key])
    house.end(Outcome(False, "cancelled"))
    assert house.effects == {}
    assert str(house.campaign.state) == "CANCELLED"


def test_an_uncertain_job_of_a_cancelled_campaign_leaves_persons_a_way() -> None:
    for kind, state in ((ev.GroupRejected, "REJECTED"), (ev.GroupReleased, "RUNNING")):
        house = at("SUBMITTING+cancel")
        house.fail_submit(ErrorClass.UNKNOWN, repeatable=False)
        assert str(house.group().state) == "HELD"
        house.do(kind(group_id=house.group().id))
        assert str(house.group().state) == state
        assert problems(house.view, house.effects) == []


def test_an_outage_during_look_ups_uses_up_nothing() -> None:
    """However long the outside system is away, the job stays SUBMITTING with a timer."""
    house = at("RECALL")
    tries = house.job().submit_tries
    for _ in range(50):
        due = house.job().due_at
        assert due is not None
        house.now = due
        fired = house.do(ev.TimerFired(entity_id=house.job().id, due_at=due))
        assert fired.recalls == [house.job().id]
        house.do(house.job_event(ev.LookUpFailed, message="away"))
    assert house.job().state is JobState.SUBMITTING
    assert house.job().submit_tries == tries
