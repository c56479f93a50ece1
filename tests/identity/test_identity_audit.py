"""Every call that changes something is written down, and every one that was refused."""

import asyncio
from typing import Any

import grpc
import pytest
from api_house import House, campaign_file, until
from google.protobuf.timestamp_pb2 import Timestamp
from identity_house import OPS, ROLES, Ports, refusing
from identity_issuer import Issuer
from test_identity_roles import the

from cmd_daemon.api.identity import auditing

DENIED = grpc.StatusCode.PERMISSION_DENIED
UNPROVED = grpc.StatusCode.UNAUTHENTICATED
CAMP = "campaigns/camp"


async def entries(house: House, parent: str = "", **narrower: Any) -> list[Any]:
    """What was written, the last first."""
    return [entry async for entry in house.client.audit(parent, **narrower)]


async def test_a_change_is_written_with_all_that_belongs_to_it(
    guarded: House, issuer: Issuer, ports: Ports
) -> None:
    fields = {"name": CAMP, "reason": "the disk is full", "request_id": "r-1"}
    async with ports.with_token(issuer.token("ann", ROLES["pilot"])) as ann:
        await ann.raw(the("PauseCampaign"), **fields)
        await ann.raw(the("GetCampaign"), name=CAMP)
    (entry,) = (await entries(guarded, CAMP))[:1]
    assert (entry.who, entry.proof) == ("ann", "token")
    assert entry.peer.startswith("ipv4:127.0.0.1:")
    assert entry.method == "CampaignService/PauseCampaign"
    assert (entry.name, entry.reason, entry.request_id) == (CAMP, fields["reason"], "r-1")
    assert (entry.before, entry.after) == ("RUNNING", "PAUSED")
    assert (entry.result, entry.message) == ("OK", "")
    event = (await guarded.client.list_events(CAMP, newest_first=True)).events[0]
    assert (event.request_id, event.actor) == ("r-1", "ann")
    assert entry.time.ToMicroseconds() <= event.time.ToMicroseconds()


async def test_what_a_facility_was_told_is_written(guarded: House, ports: Ports) -> None:
    async with ports.with_certificate("ops") as ops:
        limits = {"slots": 5}
        await ops.raw(the("UpdateFacility"), name="facilities/USDF", limits=limits, reason="a")
        await ops.raw(the("KillFacility"), name="facilities/USDF", reason="smoke")
    killed, limited = await entries(guarded, "facilities/USDF")
    assert (killed.who, killed.proof, killed.result) == (OPS, "certificate", "OK")
    assert killed.before != killed.after
    assert '"slots": 5' in limited.detail


async def test_a_new_campaign_is_named(guarded: House, issuer: Issuer, ports: Ports) -> None:
    async with ports.with_token(issuer.token("ann", ROLES["pilot"])) as ann:
        await ann.raw(the("ApplyCampaign"), source={"text": campaign_file("mine").encode()})
        with pytest.raises(grpc.RpcError):
            await ann.raw(the("ApplyCampaign"), source={"text": b"campaign: ["})
    bad, made = (await entries(guarded))[:2]
    assert (made.name, made.after, made.result) == ("campaigns/mine", "DRAFT", "OK")
    assert (bad.name, bad.result) == ("", "INVALID_CAMPAIGN_FILE")


async def test_what_changed_nothing_is_written_too(
    guarded: House, issuer: Issuer, ports: Ports
) -> None:
    step = f"{CAMP}/steps/one"
    async with ports.with_token(issuer.token("ann", ROLES["pilot"])) as ann:
        for _ in range(2):
            await ann.raw(the("PauseCampaign"), name=CAMP, request_id="twice")
        async with refusing("STATE_REFUSED", grpc.StatusCode.FAILED_PRECONDITION):
            await ann.raw(the("SignStep"), name=step, reason="good")
        before = len(await entries(guarded))
        move = {"name": f"{step}/groups/1", "facility": "facilities/USDF", "validate_only": True}
        with pytest.raises(grpc.RpcError):
            await ann.raw(the("MoveGroup"), **move)
    refused, repeated, first = (await entries(guarded, CAMP))[:3]
    assert (refused.name, refused.result, refused.before) == (step, "STATE_REFUSED", "")
    assert refused.message
    assert (first.result, first.after) == ("OK", "PAUSED")
    assert (repeated.result, repeated.after, repeated.request_id) == ("OK", "", "twice")
    assert len(await entries(guarded)) == before, "a dry run is not a change"


async def test_refused_attempts_are_written(guarded: House, issuer: Issuer, ports: Ports) -> None:
    viewer = issuer.token("eve", ROLES["viewer"])
    async with ports.with_token(viewer) as eve, refusing("MISSING_ROLE", DENIED):
        await eve.raw(the("CancelCampaign"), name=CAMP, reason="fun", request_id="r-2")
    async with ports.with_token("") as nobody, refusing("NO_CREDENTIALS", UNPROVED):
        await nobody.raw(the("ListCampaigns"))
    async with (
        ports.with_token(issuer.token("eve", exp=1)) as eve,
        refusing("TOKEN_EXPIRED", UNPROVED),
    ):
        await eve.raw(the("ListCampaigns"))

    async def written() -> list[Any]:
        return await entries(guarded, refused=True)

    found = []
    while len(found) < 3:
        found = await written()
    over, unproved, denied = found
    assert (denied.who, denied.name, denied.reason) == ("eve", CAMP, "fun")
    assert (denied.result, denied.before) == ("MISSING_ROLE", "")
    assert "needs the role pilot" in denied.message
    assert (unproved.who, unproved.proof) == ("", "")
    assert unproved.method == "CampaignService/ListCampaigns"
    assert over.result == "TOKEN_EXPIRED"
    assert await guarded.state(CAMP) == "RUNNING"


async def test_a_flood_of_refused_attempts_is_cut(
    guarded: House, issuer: Issuer, ports: Ports
) -> None:
    auditor = guarded.daemon.server.gate.auditor
    at = auditor.monotonic()
    auditor.monotonic = lambda: at
    async with ports.with_token(issuer.token("eve", ROLES["viewer"])) as eve:
        for _ in range(auditing.BURST + 30):
            async with refusing("MISSING_ROLE", DENIED):
                await eve.raw(the("CancelCampaign"), name=CAMP)
        other = issuer.token("bob", ROLES["viewer"])
        async with ports.with_token(other) as bob, refusing("MISSING_ROLE", DENIED):
            await bob.raw(the("CancelCampaign"), name=CAMP)
        await until(lambda: not auditor.writing, "the last row")
        assert len(await entries(guarded, who="eve")) == auditing.BURST
        assert len(await entries(guarded, who="bob")) == 1
        at += auditing.EVERY_S + 0.1
        async with refusing("MISSING_ROLE", DENIED):
            await eve.raw(the("CancelCampaign"), name=CAMP)
        await until(lambda: not auditor.writing, "the last row")
    last = (await entries(guarded, who="eve"))[0]
    assert "30 more were refused" in last.message


async def test_the_audit_can_be_narrowed(guarded: House, issuer: Issuer, ports: Ports) -> None:
    start = Timestamp()
    start.GetCurrentTime()
    later = Timestamp(seconds=start.seconds + 3600)
    async with ports.with_token(issuer.token("ann", ROLES["pilot"])) as ann:
        await ann.raw(the("PauseCampaign"), name=CAMP)
    await guarded.client.resume_campaign(CAMP)
    await guarded.client.sign_step(f"{CAMP}/steps/look", reason="good")
    assert [e.who for e in await entries(guarded, start_time=start)] == ["tester", "tester", "ann"]
    assert await entries(guarded, start_time=later) == []
    assert [e.method for e in await entries(guarded, who="ann")] == [
        "CampaignService/PauseCampaign"
    ]
    below = await entries(guarded, f"{CAMP}/steps/look")
    assert [e.method for e in below] == ["StepService/SignStep"]
    paged = [e async for e in guarded.client.audit(page_size=1)]
    assert paged == await entries(guarded)


async def test_audit_and_change_are_one_transaction(guarded: House) -> None:
    """What is committed is committed with its audit; many at once cost no commit more than before."""
    commits = []
    store = guarded.daemon.store

    def note(point: str) -> None:
        if point == "after-commit":
            commits.append(point)

    store.on_commit_point = note
    await guarded.client.pause_campaign(CAMP)
    assert len(commits) == 1
    client = guarded.client
    await asyncio.gather(
        *(client.drain_facility("facilities/USDF", reason=str(n)) for n in range(9))
    )
    assert len(await entries(guarded, "facilities/USDF")) == 9
