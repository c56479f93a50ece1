"""A group that leaves its facility: what begins anew, what stays in the history, and whose word counts."""

import pytest
from kernel_house import COLLECT, DRIVERS, House, policy, quanta

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.invariants import problems
from cmd_daemon.kernel.outcome import ErrorClass
from cmd_daemon.kernel.policy import JobTemplate
from cmd_daemon.kernel.states import JobKind


def move(house: House, facility: str = "FrDF", reason: str = "USDF is full") -> None:
    """A person moves the first group."""
    house.do(
        ev.GroupMoved(group_id=house.group().id, facility=facility, actor="ann", reason=reason)
    )
    assert problems(house.view, house.effects) == []


def place(house: House, facility: str, pinned: str | None) -> None:
    """The engine's answer for the first group."""
    house.do(
        ev.GroupPlaced(group_id=house.group().id, facility=facility, drivers=DRIVERS, pinned=pinned)
    )
    assert problems(house.view, house.effects) == []


def test_a_moved_group_begins_anew_with_the_next_attempt_numbers() -> None:
    house = House().placed()
    house.run()
    house.end(quanta(7))
    house.run(1)
    house.do(ev.GroupHeld(group_id=house.group().id))
    house.end(position=1)
    assert [str(house.job(n).state) for n in (0, 1)] == ["SUCCEEDED", "SUCCEEDED"]
    assert house.step().quanta_succeeded == 7
    move(house)
    group = house.group()
    assert (str(group.state), group.facility, group.pinned, group.cursor) == (
        "HELD",
        None,
        "FrDF",
        0,
    )
    assert [str(house.job(n).state) for n in (0, 1)] == ["READY", "WAITING"]
    assert [house.job(n).fresh_from for n in (0, 1)] == [1, 1]
    assert (house.step().quanta_expected, house.step().quanta_succeeded) == (0, 0)
    house.do(ev.GroupReleased(group_id=group.id))
    assert str(house.group().state) == "READY"
    place(house, "FrDF", "FrDF")
    house.run()
    assert (house.job().attempt, house.job().facility, house.job().budget_from) == (2, "FrDF", 1)
    house.end(quanta(7))
    house.run(1)
    house.end(position=1)
    assert str(house.group().state) == "ACCEPTED"
    assert house.step().quanta_succeeded == 7


def test_an_answer_to_the_question_before_the_move_is_void() -> None:
    house = House()
    house.split("0001")
    move(house)
    place(house, "USDF", None)
    assert str(house.group().state) == "READY"
    never = ev.GroupNotPlaced(group_id=house.group().id, message="never", permanent=True)
    assert house.verdict(never, house.group().id) == "void"
    place(house, "FrDF", "FrDF")
    assert (str(house.group().state), house.group().facility) == ("PLACED", "FrDF")


def test_a_move_says_where_and_why_in_the_history() -> None:
    house = House().placed()
    decision = house.do(
        ev.GroupMoved(group_id=house.group().id, facility="FrDF", actor="ann", reason="full")
    )
    (record,) = decision.records
    assert (record.actor, record.reason, record.facility) == ("ann", "moved to FrDF: full", "USDF")
    assert house.group().reason == "moved to FrDF: full"


def test_what_is_outside_is_not_left_behind() -> None:
    house = House().placed()
    house.admit()
    with pytest.raises(Refused, match=r"SUBMITTING at USDF: hold the group \(cm hold\), wait"):
        move(house)
    house.do(house.job_event(ev.JobTaken, ref="ref"))
    with pytest.raises(Refused, match="RUNNING at USDF"):
        move(house)
    other = House().placed()
    other.admit()
    other.fail_submit(ErrorClass.UNKNOWN, repeatable=False)
    with pytest.raises(Refused, match="uncertain: it may run at USDF"):
        move(other)


def test_a_group_in_review_leaves_its_losses_behind() -> None:
    house = House({"calib": policy(at_least=0.9)}).placed()
    for _ in range(2):
        house.run()
        house.end(quanta(8, 2))
    assert str(house.group().state) == "REVIEW"
    move(house)
    group = house.group()
    assert (str(group.state), group.quanta_expected, group.quanta_lost) == ("READY", 0, 0)
    assert (house.job().mode, house.job().reason) == ("", None)


def test_drivers_are_those_of_the_new_facility_but_the_file_s_own_stay() -> None:
    own = JobTemplate("own", JobKind.PROCESS, driver="mine")
    house = House({"calib": policy(jobs=(own, COLLECT))}).placed()
    assert (house.job(0).driver, house.job(1).driver) == ("mine", "butler")
    move(house)
    assert [(house.job(n).facility, house.job(n).driver) for n in (0, 1)] == [
        ("", "mine"),
        ("", ""),
    ]
    drivers = {"process": "x", "collect": "there"}
    house.do(
        ev.GroupPlaced(group_id=house.group().id, facility="FrDF", drivers=drivers, pinned="FrDF")
    )
    assert (house.job(0).driver, house.job(1).driver) == ("mine", "there")


def test_a_pin_to_where_it_is_disturbs_nothing_and_keeps_it_there() -> None:
    house = House().placed()
    move(house, "USDF")
    assert (str(house.group().state), house.group().pinned) == ("PLACED", "USDF")
    recalled = ev.GroupRecalled(group_id=house.group().id, facility="USDF")
    assert house.verdict(recalled, house.group().id) == "void"


def test_a_recalled_group_is_placed_again_elsewhere() -> None:
    house = House().placed()
    house.do(ev.GroupRecalled(group_id=house.group().id, facility="USDF", reason="USDF is down"))
    assert problems(house.view, house.effects) == []
    assert (str(house.group().state), house.group().reason) == ("READY", "USDF is down")
    assert (house.job().facility, house.job().driver) == ("", "")
    place(house, "FrDF", None)
    assert house.job().facility == "FrDF"


def test_a_group_of_a_cancelled_campaign_is_not_moved() -> None:
    house = House().placed()
    house.wish(ev.CampaignCancelled)
    with pytest.raises(Refused, match="being cancelled"):
        move(house)
