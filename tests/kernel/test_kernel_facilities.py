"""Facilities: drains, limits, the kill switch and its end, as tables of event and consequence."""

from typing import Any

import pytest
from kernel_house import House, quanta

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.invariants import problems
from cmd_daemon.kernel.outcome import ErrorClass, Outcome, QuantaCount
from cmd_daemon.kernel.states import GroupState, JobState
from cmd_daemon.kernel.waiting import actions, waits_for

WHY = "stopped by the kill switch at USDF by pilot: smoke"


@pytest.fixture
def house() -> House:
    """A campaign with one group, placed at USDF."""
    return House().placed()


def kill(house: House, sweep: bool = True) -> None:
    """Stop USDF, and sweep it."""
    house.do(ev.FacilityKilled(facility="USDF", actor="pilot", reason="smoke"))
    if sweep:
        sweep_all(house)


def revive(house: House, retry: bool) -> None:
    """Take the kill back, and sweep."""
    house.do(ev.FacilityRevived(facility="USDF", retry=retry, actor="pilot"))
    sweep_all(house)


def sweep_all(house: House) -> None:
    """The engine's sweep; whatever it left is whole."""
    house.do(ev.FacilitySwept(facility="USDF", group_ids=tuple(house.view.groups_at("USDF"))))
    assert problems(house.view, house.effects) == []


def states(house: House) -> tuple[GroupState, JobState]:
    """The group's state and its first job's."""
    return house.group().state, house.job().state


def bring(house: House, to: str) -> None:
    """Bring the first job to a state."""
    if to == "SUBMITTING":
        house.admit()
    elif to == "RUNNING":
        house.run()
    elif to == "UNCERTAIN":
        house.admit()
        house.fail_submit(ErrorClass.UNKNOWN, repeatable=False)
    elif to == "HELD":
        house.run()
        house.end(Outcome(False, "bad", error_class=ErrorClass.PERMANENT))
    elif to == "PAUSED":
        house.run()
        house.end(Outcome(False, "bad"))


@pytest.mark.parametrize(
    ("job", "group_after", "job_after", "cancelling", "stopped"),
    [
        ("READY", "HELD", "READY", False, True),
        ("SUBMITTING", "HELD", "SUBMITTING", True, True),
        ("RUNNING", "HELD", "RUNNING", True, True),
        ("PAUSED", "HELD", "READY", False, True),
        ("UNCERTAIN", "HELD", "UNCERTAIN", False, False),
        ("HELD", "HELD", "HELD", False, False),
    ],
)
def test_a_kill_stops_what_stands_there(
    house: House, job: str, group_after: str, job_after: str, cancelling: bool, stopped: bool
) -> None:
    bring(house, job)
    kill(house)
    assert states(house) == (group_after, job_after)
    assert house.job().cancelling is cancelling
    assert house.group().stopped is stopped
    if stopped:
        assert house.group().reason == WHY
    before = house.group().version, house.job().version
    sweep_all(house)  # as after a restart
    assert (house.group().version, house.job().version) == before
    for entity in (house.group(), house.job()):
        assert waits_for(house.view, entity)
    assert actions(house.view, house.group())


def test_groups_that_are_not_placed_are_not_touched() -> None:
    house = House()
    house.split("0001")
    kill(house)
    assert house.group().state is GroupState.READY
    house.place()
    assert house.group().state is GroupState.READY, "placed where nothing runs"
    assert house.group().due_at
    assert "kill switch" in (house.group().reason or "")
    house.do(ev.FacilityRevived(facility="USDF", retry=False))
    house.do(ev.TimerFired(entity_id=house.group().id, due_at=house.group().due_at or 0))
    house.place()
    assert house.group().state is GroupState.PLACED


@pytest.mark.parametrize(
    "answer",
    [
        ev.JobAbsent,
        *(ErrorClass.NOT_YET, ErrorClass.TRANSIENT, ErrorClass.PERMANENT),
    ],
)
def test_a_submission_under_way_ends_where_it_is_not_outside(
    house: House, answer: type[ev.JobEvent] | ErrorClass
) -> None:
    house.admit()
    kill(house)
    if isinstance(answer, ErrorClass):
        house.fail_submit(answer)
    else:
        house.do(house.job_event(answer))
    assert states(house) == ("HELD", "READY")
    assert not house.effects
    assert not house.job().cancelling


def test_a_submission_that_came_through_is_ended_outside(house: House) -> None:
    house.admit()
    kill(house)
    house.do(house.job_event(ev.JobTaken, ref="ref"))
    assert list(house.effects) == [f"{house.view.key(house.job())}:cancel"]
    house.end(Outcome(False, "cancelled"))
    assert states(house) == ("HELD", "READY")
    assert not house.effects


def test_an_answer_that_comes_before_the_sweep_is_ended_at_once(house: House) -> None:
    house.admit()
    kill(house, sweep=False)
    house.do(house.job_event(ev.JobTaken, ref="ref"))
    assert states(house) == ("HELD", "RUNNING")
    assert house.job().cancelling
    assert house.group().stopped


def test_nothing_is_admitted_there(house: House) -> None:
    kill(house, sweep=False)
    for event in (
        house.job_event(ev.JobAdmitted),
        house.job_event(ev.JobTooBig, message="too big"),
    ):
        assert house.verdict(event, house.job().id) == "void"


def test_a_job_that_ends_well_all_the_same_counts(house: House) -> None:
    house.run()
    kill(house)
    decision = house.end(quanta(10))
    assert states(house) == ("HELD", "SUCCEEDED")
    assert decision.attempts[0].state == "SUCCEEDED"
    revive(house, retry=True)
    assert house.group().state is GroupState.RUNNING
    assert house.job(1).state is JobState.READY


def test_a_kill_costs_no_attempt_and_what_was_made_is_taken_over(house: House) -> None:
    house.run()
    kill(house)
    partly = Outcome(False, "killed", quanta={"isr": QuantaCount(10, 6, 0, 4)})
    decision = house.end(partly)
    assert decision.attempts[0].state == "CANCELLED"
    job = house.job()
    assert (job.attempt, job.budget_from, job.mode) == (1, 1, "missing-only")
    revive(house, retry=True)
    assert states(house) == ("RUNNING", "READY")
    house.run()
    assert house.job().attempt == 2
    house.end(Outcome(False, "bad"))
    assert house.job().state is JobState.READY, "the budget of two is still there"


@pytest.mark.parametrize("retry", [True, False])
def test_revived(house: House, retry: bool) -> None:
    house.run()
    kill(house)
    house.end(Outcome(False, "cancelled"))
    revive(house, retry)
    assert states(house) == ("RUNNING" if retry else "HELD", "READY")
    if not retry:
        assert house.group().stopped
        for event in (
            ev.GroupReleased(group_id=house.group().id),
            ev.GroupRetried(group_id=house.group().id),
            ev.GroupRejected(group_id=house.group().id),
        ):
            assert house.verdict(event, house.group().id) in ("RUNNING", "REJECTED")


def test_revived_while_a_job_still_ends(house: House) -> None:
    house.run()
    kill(house)
    revive(house, retry=True)
    assert states(house) == ("RUNNING", "RUNNING")
    house.end(Outcome(False, "cancelled"))
    assert states(house) == ("RUNNING", "READY")
    house.admit()
    assert house.job().state is JobState.SUBMITTING
    assert house.job().attempt == 2


def test_a_group_that_has_not_begun_is_placed_again_where_it_was(house: House) -> None:
    kill(house)
    revive(house, retry=True)
    assert states(house) == ("PLACED", "READY")


def test_what_a_person_holds_stays_held(house: House) -> None:
    house.run()
    house.do(ev.GroupHeld(group_id=house.group().id, actor="pilot"))
    kill(house)
    assert house.job().cancelling
    house.end(Outcome(False, "cancelled"))
    assert states(house) == ("HELD", "READY")
    revive(house, retry=True)
    assert house.group().held
    assert house.group().state is GroupState.HELD


def test_a_kill_holds_what_a_person_lets_go(house: House) -> None:
    house.do(ev.GroupHeld(group_id=house.group().id, actor="pilot"))
    kill(house)
    house.do(ev.GroupReleased(group_id=house.group().id))
    assert house.group().state is GroupState.HELD
    assert house.group().stopped
    revive(house, retry=True)
    assert house.group().state is GroupState.PLACED


@pytest.mark.parametrize("kind", [ev.GroupReleased, ev.GroupRetried])
def test_a_group_is_not_let_go_while_its_facility_is_killed(
    house: House, kind: type[ev.GroupEvent]
) -> None:
    house.run()
    kill(house)
    house.end(Outcome(False, "cancelled"))
    with pytest.raises(Refused, match="cm revive USDF"):
        house.do(kind(group_id=house.group().id))
    assert actions(house.view, house.group())[0] == "cm revive USDF --retry"


def test_an_uncertain_job_is_looked_up_to_be_ended(house: House) -> None:
    bring(house, "UNCERTAIN")
    kill(house)
    house.do(ev.GroupReleased(group_id=house.group().id))
    assert states(house) == ("HELD", "SUBMITTING")
    assert house.job().cancelling
    house.do(house.job_event(ev.JobTaken, ref="ref"))
    assert list(house.effects) == [f"{house.view.key(house.job())}:cancel"]
    house.end(Outcome(False, "cancelled"))
    revive(house, retry=True)
    assert states(house) == ("RUNNING", "READY")


def test_what_a_person_accepts_goes_no_further() -> None:
    house = House().placed()
    for _ in range(2):
        house.run()
        house.end(quanta(5, 5))
    assert house.group().state is GroupState.REVIEW
    kill(house)
    assert house.group().state is GroupState.REVIEW, "it waits for a person already"
    house.do(ev.GroupAccepted(group_id=house.group().id))
    assert house.group().state is GroupState.HELD
    assert house.group().stopped
    revive(house, retry=True)
    assert house.group().state is GroupState.RUNNING


def test_a_campaign_that_is_cancelled_ends_as_ever(house: House) -> None:
    house.run()
    kill(house)
    house.wish(ev.CampaignCancelled)
    house.sweep()
    house.end(Outcome(False, "cancelled"))
    assert house.group().state is GroupState.CANCELLED
    assert house.job().state is JobState.CANCELLED


def test_a_sweep_that_comes_too_late_does_nothing(house: House) -> None:
    kill(house)
    house.do(ev.FacilityRevived(facility="USDF", retry=False))
    late = ev.FacilitySwept(facility="USDF", group_ids=(house.group().id,))
    assert house.verdict(late, house.group().id) == "void"
    other = ev.FacilitySwept(facility="FrDF", group_ids=(house.group().id,))
    assert house.verdict(other, house.group().id) == "void"


def test_a_job_that_fits_nowhere_is_held(house: House) -> None:
    house.do(house.job_event(ev.JobTooBig, message="it asks for too much"))
    assert states(house) == ("HELD", "HELD")
    assert house.group().reason == "process: it asks for too much"
    house.do(ev.GroupRetried(group_id=house.group().id))
    assert states(house) == ("RUNNING", "READY")
    house.admit()
    assert house.group().started_at == house.now


def _told(house: House, event: ev.Event) -> tuple[str, str]:
    (record,) = house.do(event).records
    assert (record.kind, record.name) == ("facility", "facilities/USDF")
    return record.from_state, record.to_state


def test_the_history_of_a_facility(house: House) -> None:
    at: dict[str, Any] = {"facility": "USDF", "actor": "pilot", "reason": "smoke"}
    assert _told(house, ev.FacilityDrained(**at)) == ("ACTIVE", "DRAINED")
    edited = ev.FacilityLimited(**at, former=None, limits='{"slots": 3}')
    assert _told(house, edited) == ("DRAINED", "DRAINED")
    state = house.view.facilities["USDF"]
    assert (state.limits, state.reason) == ('{"slots": 3}', "smoke")
    assert _told(house, ev.FacilityKilled(**at)) == ("DRAINED", "KILLED")
    assert house.view.facilities["USDF"].limits == '{"slots": 3}'
    for event in (ev.FacilityKilled(**at), ev.FacilityDrained(**at, drained=False), edited):
        assert house.verdict(event, 0) == "refused"
    assert _told(house, ev.FacilityRevived(**at, retry=True)) == ("KILLED", "ACTIVE")
    assert house.verdict(ev.FacilityRevived(**at, retry=True), 0) == "refused"
    state = house.view.facilities["USDF"]
    assert (state.drained, state.killed, state.reviving) == (False, False, True)
    assert state.limits == '{"slots": 3}'
