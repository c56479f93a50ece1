"""Several decisions in one commit, what `cm why` says, and that broken views are noticed."""

from collections.abc import Callable

import pytest
from kernel_house import SECOND, START, House, policy, quanta

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.decision import Batch, Decision, Update
from cmd_daemon.kernel.entities import Campaign, Entity
from cmd_daemon.kernel.invariants import Gone, problems
from cmd_daemon.kernel.outcome import ErrorClass, Outcome
from cmd_daemon.kernel.policy import RetryPolicy
from cmd_daemon.kernel.records import Effect
from cmd_daemon.kernel.states import JobState, StepState
from cmd_daemon.kernel.view import View
from cmd_daemon.kernel.waiting import WaitKind, actions, waits_for

# --- batches -----------------------------------------------------------------------------------


def effect(key: str, at: int = 0) -> Effect:
    return Effect(key, "submit", 1, 1, "USDF", "panda", at)


def test_an_entity_made_and_changed_in_one_batch_is_written_once_in_its_last_form() -> None:
    batch = Batch()
    assert not batch
    first, second = Campaign(1, "a", "x", 0), Campaign(1, "a", "x", 0, version=2)
    batch.add(Decision(campaigns={1: first}, created={1}), {})
    batch.add(Decision(campaigns={1: second}), {})
    assert batch.created == {1: second}
    assert batch.updates == {}
    assert batch


def test_an_update_expects_the_version_of_the_committed_row() -> None:
    batch = Batch()
    batch.add(Decision(campaigns={1: Campaign(1, "a", "x", 0, version=4)}), {1: 3})
    newest = Campaign(1, "a", "x", 0, version=5)
    batch.add(Decision(campaigns={1: newest}), {1: 4})
    assert batch.updates == {1: Update(newest, 3)}


def test_an_effect_done_in_the_batch_that_intended_it_leaves_nothing() -> None:
    batch = Batch()
    batch.add(Decision(effects=[effect("k")]), {})
    batch.add(Decision(effects_done=["k"]), {})
    assert (batch.effects, batch.effects_done) == ({}, set())


def test_an_effect_done_and_intended_anew_replaces_its_row() -> None:
    for decisions in (
        [Decision(effects_done=["k"], effects=[effect("k", 2)])],
        [Decision(effects_done=["k"]), Decision(effects=[effect("k", 2)])],
    ):
        batch = Batch()
        for decision in decisions:
            batch.add(decision, {})
        assert batch.effects_done == {"k"}
        assert batch.effects["k"].at == 2
        batch.add(Decision(effects_done=["k"]), {})
        assert (batch.effects, batch.effects_done) == ({}, {"k"})


def test_a_whole_life_in_one_batch() -> None:
    house, batch = House(), Batch()
    for decide in (
        lambda: house.split("0001"),
        lambda: house.place(),
        lambda: house.admit(),
        lambda: house.do(house.job_event(ev.JobTaken, ref="r")),
        lambda: house.end(),
    ):
        known = dict(versions(house.view))
        decision = decide()
        batch.add(decision, known)
    assert {entity.id for entity in batch.created.values()} >= {house.group().id, house.job().id}
    assert all(update.entity.version > update.expected for update in batch.updates.values())
    assert (batch.effects, batch.effects_done) == ({}, set())
    assert [row.number for row in batch.attempts] == [1]


def versions(view: View) -> list[tuple[int, int]]:
    """The version of every entity of a view."""
    entities: list[Entity] = [*view.campaigns.values(), *view.steps.values()]
    entities += [*view.groups.values(), *view.jobs.values()]
    return [(entity.id, entity.version) for entity in entities]


# --- what is waited for ------------------------------------------------------------------------


def only_wait(house: House, entity: Entity) -> tuple[str, str]:
    (wait,) = waits_for(house.view, entity)
    return str(wait.kind), wait.text


def test_what_is_waited_for_is_said_in_words() -> None:
    house = House(
        {"calib": policy(retry=RetryPolicy(attempts=2, backoff_s=120)), "b": policy("calib")}
    )
    assert only_wait(house, house.step("b")) == ("step", "waits for step calib, which is PREPARING")
    house.split("0001")
    said = only_wait(house, house.group())
    assert said == ("placing", "waits for a facility to be chosen (pinned)")
    house.place()
    said = ("slot", "waits for a slot at USDF (driver panda)")
    assert only_wait(house, house.job()) == only_wait(house, house.group()) == said
    assert only_wait(house, house.job(1)) == ("job", "waits for job process, which is READY")
    house.admit()
    assert only_wait(house, house.job()) == ("effect", "is being submitted to USDF (driver panda)")
    house.do(house.job_event(ev.JobTaken, ref="task 7"))
    said = ("outside", "is queued at USDF (driver panda) as task 7")
    assert only_wait(house, house.job()) == said
    house.end(quanta(5, 5))
    assert only_wait(house, house.group()) == (
        "timer",
        "is tried again at 2026-01-01 00:02 UTC after: attempt 1 failed: 5 of 10 quanta did not "
        "succeed; first: isr visit=0: boom",
    )
    (wait,) = waits_for(house.view, house.group())
    assert wait.until == START + 120 * SECOND
    assert only_wait(house, house.step()) == ("below", "waits for 1 groups: 1 RUNNING")
    house.run()
    house.end(quanta(5, 5))
    kind, text = only_wait(house, house.group())
    assert kind == "person"
    assert "50 % of the quanta succeeded, 100 % are asked for" in text
    assert actions(house.view, house.job()) == [
        "cm retry drp/calib/0001 --missing-only",
        "cm retry drp/calib/0001",
        "cm retry drp/calib/0001 --from-start",
        'cm accept drp/calib/0001 --reason "..."',
        'cm reject drp/calib/0001 --reason "..."',
        'cm move drp/calib/0001 FACILITY --reason "..."',
    ]


def test_a_pause_is_what_is_waited_for() -> None:
    house = House().placed()
    house.wish(ev.CampaignPaused)
    assert [w.kind for w in waits_for(house.view, house.job())] == [WaitKind.PAUSE]
    assert [w.kind for w in waits_for(house.view, house.campaign)] == [WaitKind.PERSON]
    assert actions(house.view, house.campaign) == ["cm resume drp", "cm cancel drp"]


def test_final_things_wait_for_nothing_and_offer_what_is_left() -> None:
    house = House()
    house.split("0001")
    house.finish()
    assert waits_for(house.view, house.campaign) == waits_for(house.view, house.step()) == []
    assert actions(house.view, house.campaign) == ["cm archive drp"]
    assert actions(house.view, house.step()) == []


# --- the invariants can fail -------------------------------------------------------------------


def _forget(house: House) -> None:
    house.effects.clear()


BREAKS: dict[str, tuple[Callable[[House], object], str]] = {
    "in_flight": (lambda h: setattr(h.campaign, "in_flight", 5), "in_flight says 5, counted 1"),
    "open_steps": (lambda h: setattr(h.campaign, "open_steps", 0), "open_steps says 0"),
    "step_counts": (lambda h: h.campaign.step_counts.clear(), "step_counts says {}"),
    "group_counts": (lambda h: h.step().group_counts.clear(), "group_counts says {}"),
    "job_counts": (lambda h: h.step().job_counts.update(RUNNING=3), "job_counts says"),
    "open_groups": (lambda h: setattr(h.step(), "open_groups", 9), "open_groups says 9"),
    "unmet": (lambda h: setattr(h.step("late"), "unmet", 0), "unmet says 0, counted 1"),
    "effect lost": (_forget, "is not in the outbox"),
    "effect left": (lambda h: h.effects.update(x=effect("x")), "nobody wants it"),
    "cursor": (lambda h: setattr(h.group(), "cursor", 2), "cursor 2 of 2 jobs"),
    "skipped": (lambda h: setattr(h.group(), "cursor", 1), "before the cursor has not succeeded"),
    "quanta": (lambda h: setattr(h.step(), "quanta_expected", 1), "quanta_expected says 1"),
    "no ref": (lambda h: setattr(h.job(), "state", JobState.RUNNING), "nobody knows as what"),
    "stuck": (lambda h: setattr(h.step("late"), "policy", policy()), "nothing to wait for"),
    "early": (lambda h: setattr(h.step("late"), "state", StepState.RUNNING), "before it was split"),
    "version": (lambda h: setattr(h.job(), "version", 0), "version 0"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_view_is_noticed(what: str) -> None:
    house = House({"calib": policy(), "late": policy("calib")}).placed()
    house.admit()
    gone: dict[int, Gone] = {}
    assert problems(house.view, house.effects, gone) == []
    damage, told = BREAKS[what]
    damage(house)
    found = problems(house.view, house.effects, gone)
    assert any(told in problem for problem in found), found


def test_what_is_gone_is_counted_if_told() -> None:
    house = House()
    house.split("0001", "0002")
    house.finish()
    assert problems(house.view, house.effects) == []
    assert problems(house.view, house.effects, {}) != []
    gone = Gone()
    gone.groups["ACCEPTED"], gone.jobs["SUCCEEDED"] = 1, 2
    assert problems(house.view, house.effects, {house.step().id: gone}) == []


def test_a_late_yes_of_the_outside_ends_the_uncertainty() -> None:
    house = House().placed()
    house.admit()
    house.fail_submit(ErrorClass.UNKNOWN, repeatable=False)
    decision = house.do(house.job_event(ev.JobTaken, ref="r"))
    assert decision.effects_done == []
    assert str(house.group().state) == "RUNNING"
    house.end(Outcome(True))
    assert problems(house.view, house.effects) == []
