"""Commands to attempts that are outside: who may say what, one at a time, each with an end; and the pause
of a campaign, which is made of them."""

import json
from collections.abc import Callable

import pytest
from kernel_house import SECOND, House

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.commands import Command, Value, Wanted, read, written
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.invariants import problems
from cmd_daemon.kernel.outcome import ErrorClass, Outcome
from cmd_daemon.kernel.states import Standing
from cmd_daemon.kernel.waiting import actions, waits_for

PAUSE, RESUME, PRIORITY = Command.PAUSE, Command.RESUME, Command.PRIORITY
KEY = "drp/calib/0001/process#1"


def house(*takes: Command, groups: tuple[str, ...] = ("0001",)) -> House:
    """A house whose driver of process jobs takes these commands; all unless told otherwise."""
    made = House()
    made.view.commandable["USDF", "panda"] = frozenset(takes or Command)
    made.split(*groups)
    for name in groups:
        made.place(name)
    return made


def running(*takes: Command) -> House:
    """The same, with its process job outside."""
    made = house(*takes)
    made.run()
    return made


def sound(made: House) -> None:
    assert problems(made.view, made.effects) == []


def pause(made: House) -> None:
    """The campaign is paused, and swept."""
    made.wish(ev.CampaignPaused)
    made.sweep()


def resume(made: House) -> None:
    """The campaign is resumed, and swept."""
    made.wish(ev.CampaignResumed)
    made.sweep()


def fire(made: House) -> None:
    """The job's timer."""
    due = made.job().due_at
    assert due is not None
    made.now = due
    made.do(ev.TimerFired(entity_id=made.job().id, due_at=due))


# --- who may say what --------------------------------------------------------------------------


def unplaced() -> House:
    made = House()
    made.split("0001")
    return made


def submitting() -> House:
    made = house()
    made.admit()
    return made


def uncertain() -> House:
    made = submitting()
    made.fail_submit(ErrorClass.UNKNOWN, repeatable=False)
    return made


def cancelling() -> House:
    made = running()
    made.wish(ev.CampaignCancelled)
    made.sweep()
    return made


def killed() -> House:
    made = running()
    made.do(ev.FacilityKilled(facility="USDF", actor="staff", reason="smoke"))
    made.do(ev.FacilitySwept(facility="USDF", group_ids=(made.group().id,)))
    return made


def ended() -> House:
    made = running()
    made.end(Outcome(False, "boom"))
    return made


REFUSED: dict[str, tuple[Callable[[], House], str]] = {
    "unplaced": (unplaced, "It is READY"),
    "ready": (house, "It is READY"),
    "submitting": (submitting, "in a moment"),
    "uncertain": (uncertain, "It is UNCERTAIN"),
    "being cancelled": (cancelling, "is being cancelled"),
    "killed": (killed, "asked to end it"),
    "between attempts": (ended, "It is READY"),
    "no commands": (lambda: refusing(), "takes no commands while a job runs"),
    "not this one": (lambda: running(PAUSE, RESUME), "takes no priority command; it takes: pause"),
}


def refusing() -> House:
    made = running()
    made.view.commandable.clear()
    return made


@pytest.mark.parametrize("state", REFUSED)
def test_a_command_that_cannot_be_is_refused_and_changes_nothing(state: str) -> None:
    make, words = REFUSED[state]
    made = make()
    before = made.job()
    with pytest.raises(Refused) as refused:
        made.command((PAUSE, None), (PRIORITY, 5))
    assert words in str(refused.value)
    assert made.job() == before
    sound(made)


def test_a_command_to_another_attempt_or_a_final_job_is_refused() -> None:
    made = running()
    job = made.job()
    wants = ((PRIORITY, 5),)
    with pytest.raises(Refused, match="that is 1"):
        made.do(ev.JobCommanded(job_id=job.id, attempt=0, wants=wants))
    with pytest.raises(Refused, match="final"):
        made.do(ev.JobCommanded(job_id=10**6, attempt=1, wants=wants))


# --- one at a time, each with an end -----------------------------------------------------------


def test_a_command_is_intended_and_done() -> None:
    made = running()
    decision = made.command((PRIORITY, 5))
    assert [effect.key for effect in decision.effects] == [f"{KEY}:priority"]
    assert [record.reason for record in decision.records] == ["priority 5 wanted"]
    sound(made)
    decision = made.answer()
    assert decision.effects_done == [f"{KEY}:priority"]
    assert [record.reason for record in decision.records] == ["priority 5 is done"]
    assert (made.job().commands, made.job().due_at) == (None, None)
    sound(made)


def test_different_commands_wait_their_turn_in_order() -> None:
    made = running()
    made.command((PRIORITY, 5), (Command.MEMORY, 8_000_000_000), (Command.QUEUE, "high"))
    for label in ("priority 5", "memory 8 GB", "queue high"):
        assert made.asked() == label
        assert list(made.effects) == [f"{KEY}:{label.split()[0]}"]
        made.now += 700 * SECOND  # waiting for a turn costs no patience
        sound(made)
        made.answer()
    assert made.effects == {}


def test_a_newer_command_of_a_kind_takes_the_place_of_the_older() -> None:
    made = running()
    made.command((PRIORITY, 5), (Command.QUEUE, "high"), (Command.MEMORY, 10**9))
    (old, *_) = read(made.job().commands)
    made.command((Command.QUEUE, "low"))
    made.command((PRIORITY, 7))
    labels = [wanted.label for wanted in read(made.job().commands)]
    assert labels == ["priority 7", "queue low", "memory 1 GB"]
    sound(made)
    late = made.job_event(ev.CommandAnswered, number=old.number, done=True)
    assert made.verdict(late, made.job().id) == "void", "an answer to the older one"
    made.answer()
    assert made.asked() == "queue low"


def test_what_is_not_done_yet_is_asked_for_again_and_given_up() -> None:
    made = running()
    made.view.patience = 40 * SECOND
    made.command((PRIORITY, 5), (Command.QUEUE, "high"))
    made.answer(False, ErrorClass.UNKNOWN)
    for _ in range(2):
        due = made.job().due_at
        assert due is not None
        made.now = due
        decision = made.do(ev.TimerFired(entity_id=made.job().id, due_at=due))
        assert [effect.key for effect in decision.again] == [f"{KEY}:priority"]
        assert (decision.effects, decision.effects_done) == ([], [])
        sound(made)
        made.answer(False, ErrorClass.TRANSIENT)
    due = made.job().due_at
    assert due is not None
    made.now = due
    decision = made.do(ev.TimerFired(entity_id=made.job().id, due_at=due))
    words = "priority 5 was given up after 40 s; last: no"
    assert [record.reason for record in decision.records] == [words]
    assert made.job().reason == words
    assert made.asked() == "queue high"
    sound(made)


def test_a_driver_that_never_answers_is_given_up_too() -> None:
    made = running()
    made.command((PRIORITY, 5))
    fire(made)
    assert "the driver did not answer" in str(made.job().reason)
    assert made.effects == {}
    sound(made)


def test_a_refusal_is_the_end_of_a_command() -> None:
    made = running()
    made.command((Command.QUEUE, "nowhere"))
    made.answer(False, ErrorClass.PERMANENT)
    assert made.job().reason == "queue nowhere was refused: no"
    assert made.effects == {}
    assert "queue nowhere was refused" in waits_for(made.view, made.job())[0].text
    sound(made)


ENDS: dict[str, Callable[[House], ev.JobEvent]] = {
    "done": lambda h: h.job_event(ev.JobEnded, outcome=Outcome(True)),
    "failed": lambda h: h.job_event(ev.JobEnded, outcome=Outcome(False, "boom")),
    "gone": lambda h: h.job_event(ev.JobGone),
}


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_commands_end_with_the_attempt(end: str, paused: bool) -> None:
    made = running()
    made.command((PAUSE, None))
    if paused:
        made.answer()
    made.command((PRIORITY, 5))
    decision = made.do(ENDS[end](made))
    assert made.effects == {}
    assert (made.job().standing, made.job().pause_wanted) == (Standing.GOING, False)
    assert made.campaign.paused == 0
    assert any("not asked for any more" in record.reason for record in decision.records)
    sound(made)


@pytest.mark.parametrize("paused", [False, True])
def test_a_cancel_takes_the_place_of_all_commands(paused: bool) -> None:
    made = running()
    pause(made)
    if paused:
        made.answer()
    made.wish(ev.CampaignCancelled)
    made.sweep()
    assert list(made.effects) == [f"{KEY}:cancel"]
    sound(made)
    made.end(Outcome(False, "cancelled"))
    assert (str(made.campaign.state), made.campaign.paused) == ("CANCELLED", 0)
    sound(made)


def test_commands_are_written_and_read() -> None:
    values: list[Value] = [None, 5, "high"]
    for value in values:
        queue = (Wanted(3, Command.QUEUE, value, 9, "busy"), Wanted(4, PAUSE))
        assert read(written(queue)) == queue
    assert read(written(())) == ()
    assert isinstance(json.loads(str(written([Wanted(1, PAUSE)]))), list)


# --- the pause of a campaign -------------------------------------------------------------------


def test_a_campaign_is_paused_once_what_is_outside_is() -> None:
    made = running()
    pause(made)
    assert str(made.campaign.state) == "RUNNING"
    assert made.asked() == "pause"
    assert "1 jobs that are outside to end, or to be paused" in why(made, "campaign")
    sound(made)
    made.answer(False)
    assert str(made.campaign.state) == "RUNNING"
    made.answer()
    assert str(made.campaign.state) == "PAUSED"
    assert (made.campaign.in_flight, made.campaign.paused) == (1, 1)
    assert "is paused at USDF" in why(made, "job")
    sound(made)
    resume(made)
    assert str(made.campaign.state) == "RUNNING"
    assert made.campaign.paused == 0, "nobody knows any more whether it is paused"
    assert made.asked() == "resume"
    sound(made)
    made.answer()
    assert made.job().standing is Standing.GOING
    assert "is queued at USDF" in why(made, "job")
    sound(made)


def why(made: House, what: str) -> str:
    entity = made.campaign if what == "campaign" else made.job()
    return "; ".join(wait.text for wait in waits_for(made.view, entity))


def test_a_driver_that_cannot_pause_is_not_asked() -> None:
    made = running(PRIORITY)
    pause(made)
    assert made.effects == {}
    assert str(made.campaign.state) == "RUNNING"
    made.end()
    assert str(made.campaign.state) == "PAUSED"
    sound(made)


def test_what_is_taken_after_the_pause_was_wanted_is_paused_too() -> None:
    made = submitting()
    pause(made)
    assert list(made.effects) == [f"{KEY}:submit"]
    made.do(made.job_event(ev.JobTaken, ref="r"))
    assert list(made.effects) == [f"{KEY}:pause"]
    made.answer()
    assert str(made.campaign.state) == "PAUSED"
    sound(made)


def test_some_end_and_some_are_paused() -> None:
    made = house(groups=("0001", "0002"))
    made.run()
    made.run(group="0002")
    pause(made)
    made.answer()
    assert str(made.campaign.state) == "RUNNING"
    made.end(group="0002")
    assert str(made.campaign.state) == "PAUSED"
    sound(made)
    assert made.verdict(made.job_event(ev.JobAdmitted, 1, "0002"), made.job(1, "0002").id) == "void"
    made.end()  # it may still end: what had begun in it was let come to its end
    assert (made.campaign.in_flight, made.campaign.paused) == (0, 0)
    sound(made)


def test_a_second_sweep_changes_nothing() -> None:
    made = running()
    pause(made)
    assert not made.sweep()
    made.answer()
    assert not made.sweep()
    resume(made)
    assert not made.sweep()
    made.answer()
    assert not made.sweep()


def test_a_resume_waits_until_the_pause_is_seen() -> None:
    """A pause that is under way may still come about: a driver that looks sees nothing to resume."""
    made = running()
    pause(made)
    resume(made)
    assert [wanted.command for wanted in read(made.job().commands)] == [PAUSE, RESUME]
    sound(made)
    made.answer()
    assert str(made.campaign.state) == "RUNNING"
    assert (made.asked(), made.job().standing) == ("resume", Standing.RESUMING)
    made.answer()
    assert made.job().standing is Standing.GOING
    sound(made)


def test_pause_and_resume_take_back_each_other() -> None:
    made = running()
    for _ in range(3):
        pause(made)
        resume(made)
    assert [wanted.command for wanted in read(made.job().commands)] == [PAUSE, RESUME]
    pause(made)
    assert [wanted.command for wanted in read(made.job().commands)] == [PAUSE]
    made.answer()
    assert str(made.campaign.state) == "PAUSED"
    sound(made)


def test_a_pause_that_was_given_up_is_resumed_all_the_same() -> None:
    """It may come about later: the attempt must not stand still for ever."""
    made = running()
    pause(made)
    made.answer(False, ErrorClass.PERMANENT)
    assert made.job().standing is Standing.PAUSING
    assert str(made.campaign.state) == "RUNNING"
    assert not made.sweep(), "what was refused is not asked for again by itself"
    assert "may be paused or not at USDF (driver panda): pause was refused: no" in why(made, "job")
    assert "cm pause drp/calib/0001" in actions(made.view, made.group())
    resume(made)
    assert made.asked() == "resume"
    made.answer()
    assert made.job().standing is Standing.GOING
    sound(made)


def test_a_resume_that_was_given_up_needs_a_person() -> None:
    made = running()
    pause(made)
    made.answer()
    resume(made)
    made.answer(False, ErrorClass.PERMANENT)
    assert made.job().standing is Standing.RESUMING
    assert "may be paused or not" in why(made, "job")
    assert "cm resume drp/calib/0001" in actions(made.view, made.group())
    sound(made)
    made.command((RESUME, None))
    made.answer()
    assert made.job().standing is Standing.GOING
    sound(made)


def test_a_command_that_waits_never_breaks_a_pause() -> None:
    """Pause and resume stand behind another command while the campaign changes its mind."""
    made = running()
    pause(made)
    made.answer()
    made.command((PRIORITY, 5))
    made.wish(ev.CampaignResumed)
    made.sweep()
    made.wish(ev.CampaignPaused)  # not swept yet
    assert str(made.campaign.state) == "PAUSED"
    sound(made)
    made.answer()
    assert made.asked() == "", "a resume that nobody wants any more"
    assert str(made.campaign.state) == "PAUSED"
    sound(made)
    made.sweep()
    made.command((PAUSE, None))
    assert (str(made.campaign.state), made.campaign.paused) == ("PAUSED", 1)
    sound(made)


# --- one attempt, by hand ----------------------------------------------------------------------


def test_an_attempt_paused_by_hand_stays_so_when_the_campaign_goes_on() -> None:
    made = running()
    made.command((PAUSE, None))
    made.answer()
    assert str(made.campaign.state) == "RUNNING"
    assert "as a person wanted" in why(made, "job")
    assert "cm resume drp/calib/0001" in actions(made.view, made.group())
    sound(made)
    pause(made)
    assert str(made.campaign.state) == "PAUSED", "nothing outside goes on"
    with pytest.raises(Refused, match="Its campaign is paused"):
        made.command((RESUME, None))
    resume(made)
    assert made.effects == {}
    assert made.job().standing is Standing.PAUSED
    made.command((RESUME, None))
    made.answer()
    assert (made.job().standing, made.job().pause_wanted) == (Standing.GOING, False)
    sound(made)


def test_a_hold_leaves_what_is_outside_alone() -> None:
    made = running()
    made.do(ev.GroupHeld(group_id=made.group().id))
    assert made.effects == {}
    made.command((PAUSE, None))  # its attempt can be paused beside that
    made.answer()
    assert made.job().standing is Standing.PAUSED
    sound(made)


def test_commands_are_suggested_only_where_they_are_taken() -> None:
    assert "cm pause drp/calib/0001" in actions(running().view, running().group())
    made = running(PRIORITY)
    assert not any("cm pause" in words for words in actions(made.view, made.group()))
