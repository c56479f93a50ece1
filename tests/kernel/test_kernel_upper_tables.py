"""Every pair of step or campaign state and event; cascades; new versions of the file."""

from collections.abc import Callable

import pytest
from kernel_house import House, policy

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.invariants import problems
from cmd_daemon.kernel.outcome import ErrorClass, Outcome
from cmd_daemon.kernel.policy import ErrorRule, RuleAction, StepPolicy

SIGN = StepPolicy(after=("calib",), breakpoint="look at the plots")
FAILS = policy(errors=(ErrorRule(RuleAction.FAIL),))


def sound(house: House) -> None:
    assert problems(house.view, house.effects) == []


def at_step(state: str) -> House:
    """A house whose step calib stands in a state; another step keeps the campaign going."""
    steps = {"calib": policy(), "other": policy(), "late": policy("calib", "other")}
    if state == "REVIEW":
        steps["calib"] = policy(breakpoint="look")
    if state == "FAILED":
        steps["calib"] = FAILS
    house = House(steps)
    if state == "WAITING":
        return House({"first": policy(), "calib": policy("first")})
    if state == "HELD":
        house.split()
    if state == "RUNNING":
        house.split("0001")
    if state == "HALF":
        house.split("0001", last=False)
    if state in ("REVIEW", "ACCEPTED"):
        house.split("0001")
        house.finish()
    if state == "FAILED":
        house.placed().run()
        house.end(Outcome(False, "boom"))
    return house


STEP_EVENTS: dict[str, Callable[[int], ev.Event]] = {
    "chunk": lambda i: ev.StepSplit(step_id=i, groups=(ev.NewGroup("new", "{}"),), last=False),
    "last": lambda i: ev.StepSplit(step_id=i, groups=(ev.NewGroup("new", "{}"),), last=True),
    "nothing": lambda i: ev.StepSplit(step_id=i, groups=(), last=True),
    "not-yet": lambda i: ev.SplitFailed(step_id=i, error_class=ErrorClass.NOT_YET, message="no"),
    "transient": lambda i: ev.SplitFailed(
        step_id=i, error_class=ErrorClass.TRANSIENT, message="no"
    ),
    "permanent": lambda i: ev.SplitFailed(
        step_id=i, error_class=ErrorClass.PERMANENT, message="no"
    ),
    "signed": lambda i: ev.StepSigned(step_id=i),
    "released": lambda i: ev.StepReleased(step_id=i),
}
SPLITTING = {
    "chunk": "PREPARING",
    "last": "RUNNING",
    "not-yet": "PREPARING",
    "transient": "PREPARING",
    "permanent": "HELD",
}
STEP_TABLE: dict[str, dict[str, str]] = {
    "WAITING": {},
    "PREPARING": SPLITTING | {"nothing": "HELD"},
    "HALF": SPLITTING | {"nothing": "RUNNING"},
    "HELD": {"released": "PREPARING"},
    "RUNNING": {},
    "REVIEW": {"signed": "ACCEPTED"},
    "ACCEPTED": {},
    "FAILED": {},
}


@pytest.mark.parametrize("event", STEP_EVENTS)
@pytest.mark.parametrize("state", STEP_TABLE)
def test_every_step_pair_is_declared(state: str, event: str) -> None:
    house = at_step(state)
    step = house.step()
    assert str(step.state) == {"HALF": "PREPARING"}.get(state, state)
    happens = STEP_EVENTS[event](step.id)
    otherwise = "refused" if event in ("signed", "released") else "void"
    result = STEP_TABLE[state].get(event, otherwise)
    assert house.verdict(happens, step.id) == result
    if result != "refused":
        house.do(happens)
    sound(house)


def at_campaign(state: str) -> House:
    """A house whose campaign shows a state."""
    house = House({"calib": FAILS}, start=state != "DRAFT")
    if state in ("RUNNING", "PAUSING", "CANCELLING"):
        house.placed().run()
    if state in ("PAUSING", "PAUSED"):
        house.wish(ev.CampaignPaused)
    if state in ("CANCELLING", "CANCELLED"):
        house.wish(ev.CampaignCancelled)
    if state == "ACCEPTED":
        house.split("0001")
        house.finish()
    if state == "FAILED":
        house.placed().run()
        house.end(Outcome(False))
    return house


WISHES: dict[str, type[ev.CampaignEvent]] = {
    "start": ev.CampaignStarted,
    "pause": ev.CampaignPaused,
    "resume": ev.CampaignResumed,
    "cancel": ev.CampaignCancelled,
    "archive": ev.CampaignArchived,
}
CAMPAIGN_TABLE: dict[str, dict[str, str]] = {
    "DRAFT": {"start": "RUNNING", "cancel": "CANCELLED", "apply": "DRAFT"},
    "RUNNING": {"pause": "RUNNING", "cancel": "RUNNING", "apply": "RUNNING"},
    "PAUSING": {"resume": "RUNNING", "cancel": "RUNNING", "apply": "RUNNING"},
    "PAUSED": {"resume": "RUNNING", "cancel": "CANCELLED", "apply": "PAUSED"},
    "CANCELLING": {"sweep": "elsewhere"},
    "ACCEPTED": {"archive": "ARCHIVED"},
    "FAILED": {"archive": "ARCHIVED"},
    "CANCELLED": {"archive": "ARCHIVED"},
}


@pytest.mark.parametrize("event", [*WISHES, "apply", "sweep"])
@pytest.mark.parametrize("state", CAMPAIGN_TABLE)
def test_every_campaign_pair_is_declared(state: str, event: str) -> None:
    house = at_campaign(state)
    ident = house.campaign.id
    groups = tuple(house.view.groups)
    result = CAMPAIGN_TABLE[state].get(event, "void" if event == "sweep" else "refused")
    if event == "apply":
        if result == "refused":
            with pytest.raises(Refused):
                house.apply({"calib": FAILS})
        else:
            assert str(house.apply({"calib": FAILS}).campaigns[ident].state) == result
            assert house.campaign.file_version == 2
        return
    happens = (
        ev.GroupsSwept(campaign_id=ident, group_ids=groups)
        if event == "sweep"
        else WISHES[event](campaign_id=ident)
    )
    assert house.verdict(happens, ident) == result
    if result != "refused":
        house.do(happens)
    sound(house)


def test_an_archived_campaign_is_forgotten() -> None:
    house = at_campaign("ACCEPTED")
    ident = house.campaign.id
    house.wish(ev.CampaignArchived)
    assert house.view.campaigns == house.view.steps == house.view.steps_of == {}
    assert house.verdict(ev.CampaignArchived(campaign_id=ident), ident) == "refused"
    assert house.verdict(ev.GroupsSwept(campaign_id=ident, group_ids=(1,)), ident) == "void"


def test_two_campaigns_of_one_name_are_refused() -> None:
    house = House()
    event = ev.CampaignApplied(
        campaign_id=None,
        name="drp",
        owner="x",
        ticket="",
        text="",
        parameters="",
        digest="",
        steps={},
    )
    with pytest.raises(Refused, match="exists already"):
        house.do(event)


@pytest.mark.parametrize("error", [ErrorClass.NOT_YET, ErrorClass.TRANSIENT])
def test_a_pause_is_reached_whatever_ends_the_last_job(error: ErrorClass) -> None:
    house = House().placed()
    house.admit()
    house.wish(ev.CampaignPaused)
    assert str(house.campaign.state) == "RUNNING"
    while house.campaign.in_flight:
        house.fail_submit(error)
    assert str(house.campaign.state) == "PAUSED"
    assert house.verdict(house.job_event(ev.JobAdmitted), house.job().id) == "void"


def test_the_end_of_a_chain_of_steps() -> None:
    house = House({"calib": policy(), "sign": SIGN, "coadd": policy("sign")})
    house.split("0001", "0002")
    house.finish("0001")
    assert str(house.step("sign").state) == "WAITING"
    house.do(ev.GroupRejected(group_id=house.group("0002").id))
    assert str(house.step("calib").state) == "ACCEPTED"
    assert str(house.step("sign").state) == "REVIEW"
    house.do(ev.StepSigned(step_id=house.step("sign").id, actor="ann"))
    assert house.step("sign").signed_by == "ann"
    house.split("9813", step="coadd")
    house.finish("9813")
    assert str(house.campaign.state) == "ACCEPTED"
    sound(house)


def test_a_step_with_no_accepted_group_fails() -> None:
    house = House()
    house.split("0001")
    house.do(ev.GroupRejected(group_id=house.group().id))
    assert house.step().reason == "no group was accepted"
    assert str(house.campaign.state) == "FAILED"


def test_a_failed_step_cancels_all_after_it_once() -> None:
    # A diamond with a short cut: bottom hears of the failure by three ways.
    house = House(
        {
            "calib": FAILS,
            "left": policy("calib"),
            "right": policy("calib"),
            "bottom": policy("calib", "left", "right"),
        }
    )
    house.placed().run()
    house.end(Outcome(False, "boom"))
    assert {str(s.state) for n, s in ((n, house.step(n)) for n in ("left", "right", "bottom"))} == {
        "CANCELLED"
    }
    assert str(house.campaign.state) == "FAILED"
    sound(house)


def test_an_optional_step_never_fails_the_campaign() -> None:
    house = House({"calib": policy(), "report": policy(optional=True, errors=FAILS.errors)})
    house.split("r1", step="report")
    house.place("r1")
    house.run(group="r1")
    house.end(Outcome(False), group="r1")
    assert str(house.step("report").state) == "FAILED"
    house.split("0001")
    house.finish()
    assert str(house.campaign.state) == "ACCEPTED"


def test_shares_named_twice_are_one_group() -> None:
    house = House()
    house.split("0001", "0001", last=False)
    house.split("0001", "0002")
    assert sorted(g.name for g in house.view.groups.values()) == ["0001", "0002"]
    sound(house)


def test_cancel_in_the_middle_of_a_split() -> None:
    house = House({"calib": policy(), "late": policy("calib")})
    house.split("0001", last=False)
    house.wish(ev.CampaignCancelled)
    assert str(house.step("late").state) == "CANCELLED"
    assert not house.split("0002")
    house.sweep()
    assert str(house.campaign.state) == "CANCELLED"
    sound(house)


# --- new versions of the file ------------------------------------------------------------------


def test_a_step_removed_is_cancelled_and_optional() -> None:
    house = House({"calib": policy(), "late": policy("calib")})
    house.apply({"calib": policy()})
    late = house.step("late")
    assert (str(late.state), late.policy.optional) == ("CANCELLED", True)
    house.split("0001")
    house.finish()
    assert str(house.campaign.state) == "ACCEPTED"


def test_a_step_removed_from_a_draft_stays_out_at_the_start() -> None:
    house = House({"calib": policy(), "gone": policy()}, start=False)
    house.apply({"calib": policy()}, start=True)
    assert str(house.step("gone").state) == "CANCELLED"
    assert str(house.step("calib").state) == "PREPARING"
    with pytest.raises(Refused, match="removed by an earlier version"):
        house.apply({"calib": policy(), "gone": policy()})


def test_removing_the_last_open_step_ends_the_campaign() -> None:
    house = House({"calib": policy(), "sign": SIGN, "late": policy("sign")})
    house.split("0001")
    house.finish()
    with pytest.raises(Refused, match="cannot be removed any more"):
        house.apply({"calib": policy()})
    house.do(ev.StepSigned(step_id=house.step("sign").id))
    house.split(step="late")
    assert str(house.step("late").state) == "HELD"
    house.apply({"calib": policy(), "sign": SIGN})
    assert str(house.campaign.state) == "ACCEPTED"
    sound(house)


def test_a_new_step_begins_when_what_it_waits_for_is_done() -> None:
    house = House({"calib": policy(), "other": policy()})
    house.split("0001")
    house.finish()
    steps = {"calib": policy(), "other": policy(), "new": policy("calib")}
    house.apply(steps | {"wait": policy("other")})
    assert str(house.step("new").state) == "PREPARING"
    assert (str(house.step("wait").state), house.step("wait").unmet) == ("WAITING", 1)
    sound(house)


def test_a_new_step_after_a_failed_one_is_refused() -> None:
    house = at_step("FAILED")
    steps = {n: house.step(n).policy for n in ("calib", "other", "late")}
    with pytest.raises(Refused, match="could never run"):
        house.apply(steps | {"new": policy("calib")})


def test_an_edge_taken_out_lets_a_step_begin() -> None:
    house = House({"calib": policy(), "late": policy("calib")})
    house.apply({"calib": policy(), "late": policy()})
    assert str(house.step("late").state) == "PREPARING"
    house.split("0001")
    house.finish()
    assert house.step("late").unmet == 0
    sound(house)


def test_an_edge_added_to_a_running_step_changes_nothing() -> None:
    house = House({"calib": policy(), "other": policy()})
    house.split("0001")
    house.apply({"calib": policy("other"), "other": policy()})
    house.split("o1", step="other")
    house.finish("o1")
    house.finish("0001")
    assert str(house.campaign.state) == "ACCEPTED"


def test_a_held_step_is_split_again_when_its_file_changed() -> None:
    house = at_step("HELD")
    steps = {n: house.step(n).policy for n in ("calib", "other", "late")}
    house.apply(steps)
    assert str(house.step().state) == "HELD"
    house.apply(steps | {"calib": policy(where="tract = 1")})
    assert str(house.step().state) == "PREPARING"
