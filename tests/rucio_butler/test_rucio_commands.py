"""What commands make of rules, over a stand-in of Rucio whose rules are as Rucio's were seen to be."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quick_contract import QuickAgent, order
from test_rucio_contract import section
from test_rucio_rules import NEW, keeper

from cmd_daemon.hooks import Command, Control, ErrorClass, JobKind, JobRef
from cmd_daemon.testing import FakeHost, facility_info
from cmd_daemon.testing.driver_contract import outcomes, submitted
from cmd_local.moving.orders import movement_of
from cmd_rucio_butler.commands import MARK, RESUMED, Wanted, failed, mark_of, refusal
from cmd_rucio_butler.driver import RucioDriver, RucioDriverFactory
from cmd_rucio_butler.faults import Kind, RucioFault
from cmd_rucio_butler.server import Rule
from cmd_rucio_butler.settings import rucio_settings

OWNER = "c/s/g/keep"
MOVING = replace(
    NEW,
    state="REPLICATING",
    replicating=4,
    comment="cmd c/s/g keep",
    priority=3,
    owner=OWNER,
)


class Rules:
    """One rule that takes updates as Rucio does; `updates` are those it got."""

    def __init__(self, rule: Rule | None) -> None:
        self.now = rule
        self.updates: list[dict[str, Any]] = []

    async def rule(self, identity: str) -> Rule | None:
        return self.now

    async def rules(self, *, patient: bool = True, **filters: Any) -> list[Rule]:
        return [] if self.now is None else [self.now]

    async def update_rule(self, identity: str, **options: Any) -> bool:
        assert self.now is not None
        self.updates.append(options)
        self.now = replace(
            self.now,
            state=options.get("state", self.now.state),
            comment=options.get("comment", self.now.comment),
            priority=options.get("priority", self.now.priority),
        )
        return True


def wanted(**told: Any) -> Wanted:
    made = Wanted.of(OWNER, {"wanted": told})
    made.rules, made.settled = {"r1"}, True
    return made


async def test_a_pause_cancels_what_is_queued_and_is_marked() -> None:
    server = Rules(MOVING)
    assert await wanted(paused=True).have_done(server) == ""  # type: ignore[arg-type]
    assert server.now == replace(MOVING, state="SUSPENDED", comment=f"cmd c/s/g keep{MARK}")
    assert all(update["cancel_requests"] for update in server.updates)
    done = len(server.updates)
    assert await wanted(paused=True).have_done(server) == ""  # type: ignore[arg-type]
    assert len(server.updates) == done, "what is so is not asked for again"


async def test_a_rule_that_is_done_is_not_suspended() -> None:
    server = Rules(replace(MOVING, state="OK"))
    assert await wanted(paused=True).have_done(server) == ""  # type: ignore[arg-type]
    assert server.updates == []


async def test_a_rule_that_waits_for_approval_is_suspended_after_that() -> None:
    server = Rules(replace(MOVING, state="WAITING_APPROVAL"))
    told = await wanted(paused=True).have_done(server)  # type: ignore[arg-type]
    assert "waits for its approval" in told
    assert server.updates == [], "going on with it would be an approval"


async def test_only_what_we_suspended_goes_on() -> None:
    server = Rules(replace(MOVING, state="SUSPENDED", comment=f"cmd c/s/g keep{MARK}"))
    resumed = wanted(paused=False)
    assert await resumed.have_done(server) == ""  # type: ignore[arg-type]
    comment = f"cmd c/s/g keep{RESUMED}"
    assert server.updates == [{"state": "STUCK", "boost_rule": True, "comment": comment}]
    assert resumed.boosted == {"r1": NEW.updated_at}
    foreign = Rules(replace(MOVING, state="SUSPENDED"))
    assert await wanted(paused=False).have_done(foreign) == ""  # type: ignore[arg-type]
    assert foreign.updates == []


async def test_a_rule_that_was_suspended_is_known_by_it_ever_after() -> None:
    server = Rules(MOVING)
    assert mark_of(MOVING) == ""
    for paused, mark in ((True, MARK), (False, RESUMED), (True, MARK), (False, RESUMED)):
        await wanted(paused=paused).have_done(server)  # type: ignore[arg-type]
        assert server.now is not None
        assert server.now.comment == f"cmd c/s/g keep{mark}"
        assert mark_of(server.now) == mark
    # Somebody else has had it go on.
    assert mark_of(replace(MOVING, comment=f"cmd c/s/g keep{MARK}")) == RESUMED


async def test_a_rule_that_another_group_has_taken_over_is_not_commanded() -> None:
    server = Rules(replace(MOVING, owner="c/s/other/stage"))
    assert await wanted(paused=True, priority=5).have_done(server) == ""  # type: ignore[arg-type]
    assert server.updates == []


async def test_nothing_is_done_before_the_rule_is_made_and_gone_rules_are_no_matter() -> None:
    early = Wanted(OWNER, paused=True)
    told = await early.have_done(Rules(None))  # type: ignore[arg-type]
    assert told == "its rule in Rucio is still to be made"
    assert await wanted(paused=True).have_done(Rules(None)) == ""  # type: ignore[arg-type]


async def test_a_paused_transfer_waits_and_goes_on(tmp_path: Path) -> None:
    server = Rules(MOVING)
    paused = wanted(paused=True)
    keeps = keeper(server, tmp_path, wanted=paused)  # type: ignore[arg-type]
    seen: list[str] = []
    rested, goes_on = asyncio.Event(), asyncio.Event()

    def told(rule: Rule) -> None:
        seen.append(rule.state)
        if seen.count("SUSPENDED") == 3:
            rested.set()
        if rule.state == "STUCK":
            goes_on.set()

    waiting = asyncio.create_task(keeps.see_through(MOVING, 4, told))
    async with asyncio.timeout(10):
        await rested.wait()
        assert not waiting.done(), "a pause is no end"
        await paused.take(Control("k", "r", Command.RESUME))
        await goes_on.wait()
        # It is no failure that Rucio has not come by yet; then it has.
        assert server.now is not None
        server.now = replace(server.now, state="OK", ok=4, updated_at="day 2")
        assert (await waiting).rule.state == "OK"


@pytest.mark.parametrize("value", [0, 6, 900, "high", None, True, 2.0])
def test_priorities_are_those_of_the_transfer_service(value: Any) -> None:
    assert "from 1 to 5" in refusal(Control("k", "r", Command.PRIORITY, value))
    assert refusal(Control("k", "r", Command.PRIORITY, 5)) == ""


def test_a_transfer_service_that_is_just_ending_the_transfers_is_asked_again() -> None:
    asked = Control("k", "r", Command.PRIORITY, 5)
    ending = failed(asked, RucioFault(Kind.OPERATOR, "UnsupportedOperation", "in a final state"))
    assert ending.error_class is ErrorClass.NOT_YET
    denied = failed(asked, RucioFault(Kind.OPERATOR, "AccessDenied", "no"))
    assert denied.error_class is ErrorClass.PERMANENT


async def driver(directory: Path, **changes: Any) -> RucioDriver:
    info = facility_info(butlers={"main": "r"}, settings={"rucio": section(directory, **changes)})
    host = FakeHost(directory, {"HERE": info}, {"HERE": QuickAgent()})
    made = RucioDriverFactory().create(info, rucio_settings(info), host)
    await made.start()
    return made


async def test_commands_to_what_has_no_rules_or_is_unknown(tmp_path: Path) -> None:
    made = await driver(
        tmp_path, archive_metadata={"arcBackup": "need"}, archive_evidence={"arcBackup": "done"}
    )
    tape = {"rse": "T", "bundle": "zip", "facilities": ["HERE"]}
    archive = replace(order("never"), job="archive-transfer", params=tape)
    archive = replace(archive, kind=JobKind.TRANSFER, key=f"{archive.key[:-10]}archive-transfer#1")
    refs = await submitted(made, [order("never"), archive])
    told = await made.control(
        [Control(ref.key, ref.ref, Command.PAUSE) for ref in (*refs, JobRef("x", "y"))]
    )
    assert [answer.done for answer in told] == [True, False, False]
    assert told[1].message == "the tape service of HERE takes no commands"
    assert told[2].error_class is ErrorClass.PERMANENT
    await made.cancel(refs)
    await made.stop()


async def test_what_is_wanted_outlives_the_daemon_until_the_attempt_is_over(tmp_path: Path) -> None:
    first = await driver(tmp_path)
    transfer = replace(order("never"), job="keep-transfer", kind=JobKind.TRANSFER)
    (ref,) = await submitted(first, [transfer])
    for command, value in ((Command.PAUSE, None), (Command.PRIORITY, 4)):
        (answer,) = await first.control([Control(ref.key, ref.ref, command, value)])
        assert answer.message == "its rule in Rucio is still to be made"
    await first.stop()
    second = await driver(tmp_path)
    found = second._wanted_of(movement_of(transfer))
    assert (found.paused, found.priority) == (True, 4)
    await second.cancel([ref])
    ended = await outcomes(second, [ref], 10)
    (answer,) = await second.control([Control(ref.key, ref.ref, Command.RESUME)])
    assert answer.done
    assert await outcomes(second, [ref], 10) == ended
    await second.stop()
