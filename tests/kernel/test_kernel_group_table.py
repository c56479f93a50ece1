"""Every pair of group state and group event: where it leads, void, or refused."""

from collections.abc import Callable

import pytest
from kernel_house import COLLECT, DRIVERS, SCRIPT, House, policy, quanta

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.invariants import problems
from cmd_daemon.kernel.outcome import ErrorClass, Outcome
from cmd_daemon.kernel.policy import ErrorRule, JobTemplate, RetryPolicy, RuleAction
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.kernel.waiting import actions


def at(state: str) -> House:
    """A house whose first group stands in a state, for one of several reasons."""
    house = House(
        {"calib": policy(retry=RetryPolicy(attempts=1 + (state == "RUNNING-waits")), at_least=0.9)}
    )
    house.split("0001", "0002")
    group_id = house.group().id
    if state == "READY":
        return house
    if state == "READY-later":
        house.do(ev.GroupNotPlaced(group_id=group_id, message="full", permanent=False))
        return house
    if state == "HELD-nowhere":
        house.do(ev.GroupNotPlaced(group_id=group_id, message="never", permanent=True))
        return house
    house.place()
    if state == "PLACED-pinned":
        house.do(ev.GroupMoved(group_id=group_id, facility="USDF"))
    if state == "RUNNING-waits":
        house.run()
        house.do(house.job_event(ev.JobGone))
    if state in ("RUNNING", "HELD-outside", "REVIEW", "HELD-failed"):
        house.run()
    if state == "HELD-outside":
        house.do(ev.GroupHeld(group_id=group_id))
    if state == "REVIEW":
        house.end(quanta(8, 2))
    if state == "HELD-failed":
        house.end(Outcome(False, "boom"))
    if state == "HELD-uncertain":
        house.admit()
        house.fail_submit(ErrorClass.UNKNOWN, repeatable=False)
    if state == "HELD-placed":
        house.do(ev.GroupHeld(group_id=group_id))
    if state == "final":
        house.do(ev.GroupRejected(group_id=group_id))
    return house


EVENTS: dict[str, Callable[[int], ev.Event]] = {
    "placed": lambda i: ev.GroupPlaced(group_id=i, facility="USDF", drivers=DRIVERS),
    "no-driver": lambda i: ev.GroupPlaced(group_id=i, facility="UKDF", drivers={"process": "x"}),
    "not-now": lambda i: ev.GroupNotPlaced(group_id=i, message="full", permanent=False),
    "never": lambda i: ev.GroupNotPlaced(group_id=i, message="none", permanent=True),
    "retried": lambda i: ev.GroupRetried(group_id=i),
    "accepted": lambda i: ev.GroupAccepted(group_id=i),
    "rejected": lambda i: ev.GroupRejected(group_id=i),
    "held": lambda i: ev.GroupHeld(group_id=i),
    "released": lambda i: ev.GroupReleased(group_id=i),
    "moved": lambda i: ev.GroupMoved(group_id=i, facility="FrDF"),
    "moved-here": lambda i: ev.GroupMoved(group_id=i, facility="USDF"),
    "recalled": lambda i: ev.GroupRecalled(group_id=i, facility="USDF"),
    "recalled-there": lambda i: ev.GroupRecalled(group_id=i, facility="FrDF"),
    "placed-late": lambda i: ev.GroupPlaced(
        group_id=i, facility="USDF", drivers=DRIVERS, pinned="UKDF"
    ),
}
OBSERVED = (
    "placed",
    "no-driver",
    "not-now",
    "never",
    "recalled",
    "recalled-there",
    "placed-late",
)
TABLE: dict[str, dict[str, str]] = {
    "READY": {
        "placed": "PLACED",
        "no-driver": "HELD",
        "not-now": "READY",
        "never": "HELD",
        "rejected": "REJECTED",
        "held": "HELD",
        "moved": "READY",
        "moved-here": "READY",
    },
    "READY-later": {
        "rejected": "REJECTED",
        "held": "HELD",
        "moved": "READY",
        "moved-here": "READY",
    },
    "PLACED": {
        "rejected": "REJECTED",
        "held": "HELD",
        "moved": "READY",
        "moved-here": "PLACED",
        "recalled": "READY",
    },
    "PLACED-pinned": {
        "rejected": "REJECTED",
        "held": "HELD",
        "moved": "READY",
        "moved-here": "PLACED",
    },
    "RUNNING": {"held": "HELD", "moved-here": "RUNNING"},
    "RUNNING-waits": {
        "held": "HELD",
        "retried": "RUNNING",
        "moved": "READY",
        "moved-here": "RUNNING",
    },
    "REVIEW": {
        "retried": "RUNNING",
        "accepted": "RUNNING",
        "rejected": "REJECTED",
        "moved": "READY",
        "moved-here": "REVIEW",
    },
    "HELD-nowhere": {
        "rejected": "REJECTED",
        "held": "HELD",
        "released": "READY",
        "moved": "READY",
        "moved-here": "READY",
    },
    "HELD-placed": {
        "rejected": "REJECTED",
        "released": "PLACED",
        "moved": "HELD",
        "moved-here": "HELD",
    },
    "HELD-outside": {"released": "RUNNING", "moved-here": "HELD"},
    "HELD-failed": {
        "retried": "RUNNING",
        "rejected": "REJECTED",
        "held": "HELD",
        "moved": "READY",
        "moved-here": "HELD",
    },
    "HELD-uncertain": {
        "rejected": "REJECTED",
        "held": "HELD",
        "released": "RUNNING",
        "moved-here": "HELD",
    },
    "final": {},
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", TABLE)
def test_every_pair_is_declared(state: str, event: str) -> None:
    house = at(state)
    group_id = house.group().id
    happens = EVENTS[event](group_id)
    otherwise = "void" if event in OBSERVED else "refused"
    result = TABLE[state].get(event, otherwise)
    assert house.verdict(happens, group_id) == result
    if result != "refused":
        house.do(happens)
    assert problems(house.view, house.effects) == []


@pytest.mark.parametrize("state", [state for state in TABLE if state != "final"])
def test_suggested_commands_are_those_of_the_table(state: str) -> None:
    house = at(state)
    told = {words.split()[1] for words in actions(house.view, house.group())}
    not_told = {"moved-here"} | ({"held"} if "HELD" in state else set())
    if state.startswith("RUNNING"):
        not_told.add("moved")
    fits = {e for e in TABLE[state] if e not in OBSERVED} - not_told
    verbs = {"retried": "retry", "accepted": "accept", "rejected": "reject", "moved": "move"}
    assert told == {verbs.get(e, {"held": "hold", "released": "release"}.get(e)) for e in fits}


def test_placed_at_another_facility_after_a_missing_driver() -> None:
    house = at("READY")
    group_id = house.group().id
    house.do(EVENTS["no-driver"](group_id))
    assert "UKDF has no driver for collect jobs" in str(house.group().reason)
    house.do(ev.GroupReleased(group_id=group_id))
    house.place()
    assert (house.job().facility, house.job().driver) == ("USDF", "panda")


def test_a_held_group_goes_on_outside_and_nothing_more_is_submitted() -> None:
    house = at("HELD-outside")
    house.end(quanta(10))
    assert str(house.job().state) == "SUCCEEDED"
    assert str(house.job(1).state) == "WAITING"
    decision = house.do(ev.GroupReleased(group_id=house.group().id))
    assert str(house.job(1).state) == "READY"
    assert house.job(1).id in decision.jobs, "the lanes must hear of it"


def test_a_review_accepted_goes_on_with_the_chain() -> None:
    house = at("REVIEW")
    assert "80 % of the quanta succeeded, 90 % are asked for" in str(house.group().reason)
    assert actions(house.view, house.group())[0] == "cm retry drp/calib/0001 --missing-only"
    house.do(ev.GroupAccepted(group_id=house.group().id, actor="ann"))
    assert str(house.job(1).state) == "READY"
    house.run(1)
    house.end(position=1)
    assert (str(house.group().state), house.group().quanta_lost) == ("ACCEPTED", 2)
    assert house.step().quanta_lost == 2


def test_losses_a_person_took_are_not_judged_again() -> None:
    house = at("REVIEW")
    house.do(ev.GroupRetried(group_id=house.group().id, mode="missing-only"))
    assert house.job().mode == "missing-only"
    house.run()
    house.end(quanta(8, 2))
    assert str(house.group().state) == "REVIEW"


def test_nothing_done_cannot_be_accepted() -> None:
    house = at("HELD-failed")
    with pytest.raises(Refused, match="None of its quanta succeeded"):
        house.do(ev.GroupAccepted(group_id=house.group().id))


def test_missing_only_fits_process_jobs_only() -> None:
    house = House({"calib": policy(jobs=(SCRIPT,), retry=RetryPolicy(attempts=1))})
    house.placed().run()
    house.end(Outcome(False, "boom"))
    with pytest.raises(Refused, match="has no quanta"):
        house.do(ev.GroupRetried(group_id=house.group().id, mode="missing-only"))
    house.do(ev.GroupRetried(group_id=house.group().id))


def test_an_automatic_retry_is_a_rescue_even_after_an_attempt_without_a_report() -> None:
    house = House({"calib": policy(retry=RetryPolicy(attempts=4))})
    house.placed().run()
    house.end(quanta(5, 5))
    assert house.job().mode == "missing-only"
    house.run()
    house.end(Outcome(False, "killed", exit_code=137))
    assert house.job().mode == "missing-only"
    house.do(ev.GroupRetried(group_id=house.group().id, mode="from-start"))
    assert (house.job().mode, house.group().quanta_succeeded) == ("from-start", 0)
    assert house.step().quanta_expected == 0
    house.run()
    house.end(Outcome(False, "killed", exit_code=137))
    assert house.job().mode == ""


def test_an_error_rule_ends_a_held_group() -> None:
    house = House({"calib": policy(errors=(ErrorRule(RuleAction.FAIL, exit=7),))})
    house.placed().run()
    house.do(ev.GroupHeld(group_id=house.group().id))
    house.end(Outcome(False, "boom", exit_code=7))
    assert str(house.group().state) == "FAILED"
    assert str(house.campaign.state) == "FAILED"


def test_a_driver_named_in_the_file_wins() -> None:
    own = JobTemplate("own", JobKind.PROCESS, driver="mine")
    house = House({"calib": policy(jobs=(own, COLLECT))}).placed()
    assert (house.job(0).driver, house.job(1).driver) == ("mine", "butler")
