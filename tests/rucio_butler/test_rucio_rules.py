"""Waiting for rules: one look for all, what is done and what is not, boosts with an end."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from quick_contract import order
from test_rucio_contract import section

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_daemon.testing import facility_info
from cmd_local.moving.manifest import Link
from cmd_local.moving.orders import movement_of
from cmd_rucio_butler.commands import RESUMED, Wanted
from cmd_rucio_butler.faults import Kind, RucioFault
from cmd_rucio_butler.rules import RuleKeeper
from cmd_rucio_butler.server import Rule, Unmoved
from cmd_rucio_butler.settings import rucio_settings
from cmd_rucio_butler.watching import RuleWatch

NEW = Rule("r1", "Dataset/x", "USDF_DISK", "INJECT", 0, 0, 0, "", datetime.now(UTC), "day 1")
STUCK = replace(NEW, state="STUCK", ok=3, stuck=1, error="no space")
OK = replace(NEW, state="OK", ok=4)


class ScriptedServer:
    """Tells of the one rule what the script says, look by look; the last line stays."""

    def __init__(self, *script: Rule | DriverError | None) -> None:
        self.script = list(script)
        self.boosts = 0
        self.made = 0
        self.date = "day 1"
        self.asked_after: list[Any] = []

    def _now(self) -> Rule | DriverError | None:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    async def rules(self, *, patient: bool = True, **filters: Any) -> list[Rule]:
        self.asked_after.append(filters.get("created_after"))
        now = self._now()
        if isinstance(now, DriverError):
            raise now
        return [] if now is None else [now]

    async def rule(self, identity: str) -> Rule | None:
        return replace(NEW, updated_at=self.date) if self.made or self.boosts else None

    async def add_rule(self, name: str, rse: str, **options: Any) -> str:
        self.made += 1
        return "r1"

    async def update_rule(self, identity: str, **options: Any) -> bool:
        assert options == {"boost_rule": True}
        self.boosts += 1
        return True

    async def unmoved(self, rule: Rule, most: int) -> Sequence[Unmoved]:
        return [Unmoved("a/b", 4, "DESTINATION [28] no space")]


def keeper(
    server: ScriptedServer, directory: Path, wanted: Wanted | None = None, **changes: Any
) -> RuleKeeper:
    fast = {"poll_s": 0.01, "boost_s": 0.0, **changes}
    settings = rucio_settings(facility_info(settings={"rucio": section(directory, **fast)}))
    watch = RuleWatch(server, settings.poll_s)  # type: ignore[arg-type]
    link = Link("FrDF", "USDF")
    return RuleKeeper(movement_of(order("q")), link, server, watch, settings, wanted)  # type: ignore[arg-type]


def no_one(rule: Rule) -> None:
    """Takes no note."""


async def test_a_rule_that_is_not_counted_yet_is_not_done(tmp_path: Path) -> None:
    seen: list[str] = []
    server = ScriptedServer(NEW, NEW, replace(NEW, state="REPLICATING", replicating=4), OK)
    end = await keeper(server, tmp_path).see_through(NEW, 4, lambda rule: seen.append(rule.state))
    assert seen == ["INJECT", "INJECT", "INJECT", "REPLICATING", "OK"]
    assert (end.rule, end.unmoved) == (OK, {})


async def test_boosts_have_an_end_and_a_boost_that_rucio_has_not_seen_is_no_failure(
    tmp_path: Path,
) -> None:
    second = replace(STUCK, updated_at="day 2")
    third = replace(STUCK, updated_at="day 3")
    # After the first boost the rule bears the same date until Rucio's repairer comes by.
    server = ScriptedServer(STUCK, STUCK, STUCK, second, third)
    end = await keeper(server, tmp_path, boosts=2).see_through(NEW, 4, no_one)
    assert server.boosts == 2
    assert end.error_class is ErrorClass.PERMANENT
    assert "DESTINATION [28] no space" in end.unmoved["a/b"]
    assert "no space" in end.unmoved[""]


async def test_a_stuck_rule_is_no_verdict_while_files_move(tmp_path: Path) -> None:
    moving = replace(STUCK, replicating=2, stuck=1, ok=1)
    server = ScriptedServer(moving, moving, STUCK)
    end = await keeper(server, tmp_path, boosts=0).see_through(NEW, 4, no_one)
    assert end.rule == STUCK


async def test_a_suspended_rule_waits_for_a_person(tmp_path: Path) -> None:
    server = ScriptedServer(replace(STUCK, state="SUSPENDED"))
    end = await keeper(server, tmp_path).see_through(NEW, 4, no_one)
    assert "it is suspended" in end.unmoved[""]
    assert server.boosts == 0


async def test_a_rule_somebody_always_deletes_is_given_up(tmp_path: Path) -> None:
    class Deleting(ScriptedServer):
        async def rule(self, identity: str) -> Rule | None:
            self.made, made = 0, self.made
            return NEW if made else None

    with pytest.raises(DriverError, match="deletes the rule for Dataset/x at USDF_DISK again"):
        await keeper(Deleting(None), tmp_path).see_through(NEW, 4, no_one)


async def test_an_outage_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    down = DriverError(ErrorClass.TRANSIENT, "no answer")
    server = ScriptedServer(down, down, down, OK)
    end = await keeper(server, tmp_path, patience_s=30).see_through(NEW, 4, no_one)
    assert end.rule == OK
    with pytest.raises(DriverError, match="no answer"):
        await keeper(ScriptedServer(down), tmp_path, patience_s=0).see_through(NEW, 4, no_one)


async def test_one_look_serves_all_who_wait(tmp_path: Path) -> None:
    server = ScriptedServer(OK)
    watch = RuleWatch(server, 0.05)  # type: ignore[arg-type]
    with watch.waiting_for(NEW):
        seen = await asyncio.gather(*(watch.look() for _ in range(50)))
    assert (watch.looks, len(server.asked_after)) == (1, 1)
    assert all(each == {"r1": OK} for each in seen)
    assert server.asked_after[0] < NEW.created_at
    await watch.close()


async def test_a_hint_makes_the_next_look_come_sooner() -> None:
    server = ScriptedServer(OK)
    watch = RuleWatch(server, 3600.0)  # type: ignore[arg-type]
    looking = asyncio.create_task(watch.look())
    await asyncio.sleep(0)
    watch.wake()
    async with asyncio.timeout(10):
        assert await looking == {"r1": OK}
    await watch.close()


class Forgetful(ScriptedServer):
    """A server that has one of the files, and says what it is asked to have back."""

    def __init__(self, refused: RucioFault | None = None) -> None:
        super().__init__(OK)
        self.refused = refused
        self.asked: list[str] = []
        self.regained: list[str] = []

    def within(self, scope: str) -> "Forgetful":
        return self

    async def held_at(self, rse: str, lfns: Sequence[str]) -> list[str]:
        self.asked += lfns
        return ["a"]

    async def regain(self, rse: str, lfns: Sequence[str]) -> None:
        if self.refused is not None:
            raise self.refused
        self.regained += lfns


async def test_what_rucio_takes_for_lost_is_looked_for_only_after_a_pause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = Forgetful()
    await keeper(server, tmp_path).regain(OK, ["a", "b"])
    assert server.asked == []
    resumed = replace(OK, comment=f"cmd c/s/g keep{RESUMED}")
    await keeper(server, tmp_path).regain(resumed, ["a", "b"])
    assert server.regained == ["b"]
    refusing = Forgetful(RucioFault(Kind.OPERATOR, "AccessDenied", "it may not"))
    await keeper(refusing, tmp_path).regain(resumed, ["a", "b"])
    assert "takes 1 files for lost" in caplog.text
    down = Forgetful(RucioFault(Kind.RETRY, "ServerConnectionException", "it is down"))
    with pytest.raises(RucioFault):
        await keeper(down, tmp_path).regain(resumed, ["a", "b"])
