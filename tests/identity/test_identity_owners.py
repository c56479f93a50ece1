"""Whose a campaign is, and who may change it; how much one caller may have under way."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from api_house import SCHEDULE, TEMPLATE, House, campaign_file, config, path_of, serving, until
from identity_house import DEADLINE_S, ROLES, Ports, identity, refusing, with_ports
from identity_issuer import Issuer
from test_identity_roles import the

from cmd_daemon.api.campaigns import CampaignService

DENIED = grpc.StatusCode.PERMISSION_DENIED
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
LIMITS = {"calls": 3, "watchers": 2, "message": "1 MB"}


@pytest.fixture
async def strict(
    tmp_path: Path, campaign_state: Path, issuer: Issuer, ports: Ports
) -> AsyncIterator[House]:
    """A daemon where owners matter, whose socket is for pilots."""
    shutil.copytree(campaign_state, tmp_path / "state")
    told = identity(issuer, owners_only=True, socket_role="pilot", limits=LIMITS)
    async with serving(with_ports(config(tmp_path), ports, identity=told)) as made:
        yield made


def owned(name: str, owner: str) -> dict[str, object]:
    """The source of a campaign of this owner."""
    return {"text": campaign_file(name).replace("owner: me", f"owner: {owner}").encode()}


async def test_only_the_owner_and_admins_change_a_campaign(
    strict: House, issuer: Issuer, ports: Ports
) -> None:
    step = "campaigns/hers/steps/look"
    ann, bob = (issuer.token(who, ROLES["pilot"]) for who in ("ann", "bob"))
    async with ports.with_token(ann) as caller:
        await caller.raw(the("ApplyCampaign"), source=owned("hers", "ann"), start=True)
        assert (await caller.raw(the("GetCaller"))).owners_only
        await caller.raw(the("PauseCampaign"), name="campaigns/hers")
        await caller.raw(the("ResumeCampaign"), name="campaigns/hers")
    async with ports.with_token(bob) as caller:
        async with refusing("NOT_OWNER", DENIED) as words:
            await caller.raw(the("PauseCampaign"), name="campaigns/hers")
        assert "belongs to ann" in words[0]
        assert "bob is not its owner" in words[0]
        async with refusing("NOT_OWNER", DENIED):
            await caller.raw(the("SignStep"), name=step, reason="good")
        async with refusing("NOT_OWNER", DENIED):
            await caller.raw(
                the("ControlJob"), name="campaigns/hers/steps/one/groups/1", paused=True
            )
        # Neither in the name of another, nor by taking it over.
        async with refusing("NOT_OWNER", DENIED):
            await caller.raw(the("ApplyCampaign"), source=owned("new", "ann"))
        async with refusing("NOT_OWNER", DENIED):
            await caller.raw(the("ApplyCampaign"), source=owned("hers", "bob"))
        await caller.raw(the("GetCampaign"), name="campaigns/hers")
    async with ports.with_token(issuer.token("root", ROLES["admin"])) as caller:
        await caller.raw(the("PauseCampaign"), name="campaigns/hers")
    async with refusing("NOT_OWNER", DENIED) as words:
        await strict.raw(
            the("PauseCampaign"), b"\n\x0ecampaigns/hers", metadata=(("x-cmd-actor", "ann"),)
        )
    assert "nobody proves" in words[0]


async def test_only_the_owner_changes_a_schedule(
    strict: House, issuer: Issuer, ports: Ports
) -> None:
    async with ports.with_token(issuer.token("bob", ROLES["pilot"])) as caller:
        for method in ("PauseSchedule", "RunSchedule", "RemoveSchedule"):
            async with refusing("NOT_OWNER", DENIED) as words:
                await caller.raw(the(method), name="schedules/nightly")
            assert "schedules/nightly belongs to me" in words[0]
        text = SCHEDULE.replace("nightly", "mine").replace("owner: me", "owner: bob")
        async with refusing("NOT_OWNER", DENIED):
            await caller.raw(the("ApplySchedule"), text=text, template=TEMPLATE)
        template = TEMPLATE.replace("owner: me", "owner: bob")
        await caller.raw(the("ApplySchedule"), text=text, template=template)
        await caller.raw(the("PauseSchedule"), name="schedules/mine")


async def test_calls_of_one_caller_are_limited(
    strict: House, issuer: Issuer, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = asyncio.Event()
    waiting = 0

    async def slow(self: CampaignService, name: str) -> None:
        nonlocal waiting
        waiting += 1
        await held.wait()
        raise ValueError("let go")

    monkeypatch.setattr(CampaignService, "_message", slow)
    get = the("GetCampaign")
    async with (
        ports.with_token(issuer.token("ann", ROLES["viewer"])) as ann,
        ports.with_token(issuer.token("bob", ROLES["viewer"])) as bob,
    ):
        calls = [asyncio.create_task(ann.raw(get, name="campaigns/camp")) for _ in range(3)]
        await until(lambda: waiting == 3, "three calls")
        async with refusing("TOO_MANY_CALLS", FULL) as words:
            await ann.raw(the("GetDaemon"))
        assert "ann has 3 calls under way" in words[0]
        await bob.raw(the("GetDaemon"))
        held.set()
        await asyncio.gather(*calls, return_exceptions=True)
        await ann.raw(the("GetDaemon"))


async def test_watches_of_one_caller_are_limited(
    strict: House, issuer: Issuer, ports: Ports
) -> None:
    watch = the("WatchEvents")
    async with ports.with_token(issuer.token("ann", ROLES["viewer"])) as ann:
        opened = []
        for _ in range(2):
            stream = ann.channel.unary_stream(path_of(watch))(
                b"", metadata=ann.metadata, timeout=DEADLINE_S
            )
            await stream.read()
            opened.append(stream)
        async with refusing("TOO_MANY_WATCHERS", FULL) as words:
            await ann.raw(watch)
        assert "ann has 2 streams" in words[0]
        await ann.raw(the("GetDaemon"))
        opened[0].cancel()
        limits = strict.daemon.server.gate.limits
        await until(lambda: sum(limits.watchers.values()) == 1, "an end of the watch")
        await ann.raw(watch)


async def test_a_message_that_is_too_large_is_refused(
    strict: House, issuer: Issuer, ports: Ports
) -> None:
    async with ports.with_token(issuer.token("ann", ROLES["pilot"])) as ann:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ann.raw(the("ApplyCampaign"), source={"text": b"#" * 1_100_000})
        assert refused.value.code() is FULL
        assert "larger than max" in str(refused.value.details())
        await ann.raw(the("GetDaemon"))
