"""Every method of the descriptors keeps the promises that all methods make."""

import asyncio
import re
import time
from typing import Any

import grpc
import pytest
from api_house import (
    DEADLINE_S,
    SCHEDULE,
    TEMPLATE,
    House,
    campaign_file,
    has,
    methods,
    path_of,
    refusal,
    request_of,
)
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from cmd_daemon.testing.world import Behaviour

ALL = list(methods())
ONE_ATTEMPT = "owner: me\ndefaults: {retry: {attempts: 1}}"
KINDS = ("campaign", "step", "group", "job", "facility", "schedule")


def _id(method: MethodDescriptor) -> str:
    return str(method.name)


def _named(method: MethodDescriptor) -> str:
    """The field that names an entity: name or parent; "" if there is none."""
    return next((field for field in ("name", "parent") if has(method, field)), "")


def _kind(method: MethodDescriptor, names: dict[str, str]) -> str:
    """The kind of entity the method is about, by its name: ListSteps is about a campaign's."""
    special = {
        "ListSteps": "campaign",
        "GetNexus": "step",
        "GetGroupCounts": "step",
        "TestRules": "campaign",
        "GetCosts": "campaign",
        "GetActivity": "step",
        "GetFailureCauses": "campaign",
        "GetWays": "campaign",
        "ListGroups": "step",
        "ListPlacements": "group",
        "ListJobs": "group",
        "ListAttempts": "job",
        "ListParts": "job",
        "ReadLog": "job",
        "ListEvents": "campaign",
        "WatchEvents": "campaign",
        "ExplainEntity": "group",
        "GetCampaignFile": "campaign",
        "ListAudit": "campaign",
    }
    if method.name in special:
        return special[method.name]
    return next(kind for kind in KINDS if method.name.endswith(kind.capitalize()))


COMMANDS = [m for m in ALL if has(m, "request_id")]
NAMED = [m for m in ALL if _named(m)]


@pytest.mark.parametrize("method", NAMED, ids=_id)
async def test_unknown_and_malformed_names(full: House, method: MethodDescriptor) -> None:
    field = _named(method)
    more = {"reason": "because"} if has(method, "reason") else {}
    kind = _kind(method, full.one_of_each())
    known = full.one_of_each()[kind]
    unknown = known.rpartition("/")[0] + "/no-such"
    told = await refusal(full.raw(method, request_of(method, **{field: unknown}, **more)))
    assert told == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    bad = [known + "/", "/" + known, known.replace("/", "//", 1), "x", "facilities/", "campaigns/ä"]
    bad += ["campaigns/" + "x" * 5000, "campaigns/a\0b", "campaigns/../etc", known + "\n"]
    if field == "name":
        bad.append("")
    for name in bad:
        code, reason = await refusal(full.raw(method, request_of(method, **{field: name}, **more)))
        assert code == grpc.StatusCode.INVALID_ARGUMENT, name
        assert reason in ("INVALID_NAME", "INVALID_ARGUMENT"), name
    await full.healthy()


@pytest.mark.parametrize(
    "method", [m for m in ALL if m.name.startswith(("Get", "List", "Explain"))], ids=_id
)
async def test_every_look_works(full: House, method: MethodDescriptor) -> None:
    fields: dict[str, Any] = {}
    if _named(method):
        fields[_named(method)] = full.one_of_each()[_kind(method, full.one_of_each())]
    answer = await full.raw(method, request_of(method, **fields))
    assert answer is not None
    if method.name.startswith("Get") and "name" in answer.DESCRIPTOR.fields_by_name:
        assert answer.name == fields["name"]
    if method.name not in ("ListParts",) and method.name.startswith("List"):
        repeated = [f for f in answer.DESCRIPTOR.fields if f.is_repeated]
        assert any(getattr(answer, f.name) for f in repeated), "an empty list"


@pytest.mark.parametrize("method", [m for m in ALL if has(m, "page_token")], ids=_id)
async def test_pages(full: House, method: MethodDescriptor) -> None:
    fields: dict[str, Any] = {}
    if has(method, "parent"):
        fields["parent"] = "campaigns/camp"
    answer = message_factory.GetMessageClass(method.output_type)
    (items,) = [f.name for f in answer.DESCRIPTOR.fields if f.is_repeated]
    if method.name == "ListAudit":
        for _ in range(2):
            await full.client.pause_campaign("campaigns/camp")
            await full.client.resume_campaign("campaigns/camp")
    if method.name == "ListCampaigns":
        for number in range(4):
            await full.applied(f"camp{number}", start=False)
    whole = getattr(await full.raw(method, request_of(method, **fields, page_size=1000)), items)
    paged: list[Any] = []
    token = ""
    for _ in range(len(whole) + 2):
        page = await full.raw(method, request_of(method, **fields, page_size=2, page_token=token))
        assert len(getattr(page, items)) <= 2
        paged += getattr(page, items)
        token = page.next_page_token
        if not token:
            break
    assert paged == list(whole)
    assert len(paged) > 2
    first = await full.raw(method, request_of(method, **fields, page_size=1))
    other = {**fields, "parent": "campaigns/camp/steps/one"} if fields else {"owner": "me"}
    wrong = [
        {**fields, "page_size": -1},
        {**fields, "page_size": 1001},
        {**fields, "page_token": "nonsense"},
        {**fields, "page_token": "AAAA" * 100},
        {**other, "page_token": first.next_page_token},
    ]
    for each in wrong:
        told = await refusal(full.raw(method, request_of(method, **each)))
        assert told == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"), each


@pytest.mark.parametrize("method", [m for m in ALL if has(m, "states")], ids=_id)
async def test_states_in_filters(full: House, method: MethodDescriptor) -> None:
    fields = {"parent": "campaigns/camp"} if has(method, "parent") else {}
    for value in method.input_type.fields_by_name["states"].enum_type.values:
        await full.raw(method, request_of(method, **fields, states=[value.number]))
    bad = request_of(method, **fields)
    bad.states.append(99)  # type: ignore[attr-defined]
    told = await refusal(full.raw(method, bad))
    assert told == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


def _messages(start: Descriptor, seen: set[str]) -> None:
    if start.full_name in seen:
        return
    seen.add(start.full_name)
    for field in start.fields:
        if field.message_type is not None:
            _messages(field.message_type, seen)


def test_states_are_output_only() -> None:
    """No change takes a state: states follow from events alone."""
    for method in COMMANDS:
        seen: set[str] = set()
        _messages(method.input_type, seen)
        for field in method.input_type.fields:
            if field.type == FieldDescriptor.TYPE_ENUM:
                assert field.enum_type.name != "State", f"{method.name}.{field.name}"
        assert not {name for name in seen if name.endswith((".Campaign", ".Step", ".Group"))}


def test_every_change_takes_a_request_id() -> None:
    looks = ("Get", "List", "Watch", "Explain", "Read", "Plan", "Test")
    changes = [m for m in ALL if not m.name.startswith(looks)]
    assert {m.name for m in changes} == {m.name for m in COMMANDS}
    assert all(has(m, "reason") for m in changes)


def test_names_follow_the_style() -> None:
    for method in ALL:
        assert re.fullmatch(r"([A-Z][a-z]+)+", method.name), method.name
        assert path_of(method).startswith("/cmd_api.v1.")
        for message in (method.input_type, method.output_type):
            for field in message.fields:
                assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", field.name), field.full_name


async def _group_for(house: House, name: str) -> str:
    """A group about which that can be decided."""
    runs = name in ("HoldGroup", "ReleaseGroup", "ControlJob")
    bad = Behaviour(quanta={"isr": (10, 9)}, message="bad")
    house.world.behaviours[""] = Behaviour(run_s=None) if runs else bad
    text = campaign_file("bad", 1).replace("owner: me", ONE_ATTEMPT)
    await house.client.apply_campaign(text, start=True)
    wanted = {"RUNNING"} if runs else {"HELD", "REVIEW"}
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        for group in (await house.client.list_groups("campaigns/bad/steps/one")).groups:
            if type(group).State.Name(group.state)[6:] in wanted:
                if name == "ReleaseGroup":
                    await house.client.hold_group(group.name, reason="look first")
                return str(group.name)
        await asyncio.sleep(0.005)
    raise AssertionError("no group to decide about")


async def _ready_for(house: House, method: MethodDescriptor) -> dict[str, Any]:
    """Bring the house where the command fits; the fields of its request."""
    names = house.one_of_each()
    client = house.client
    name = method.name
    if name == "ApplyCampaign":
        return {"source": {"text": campaign_file("fresh").encode(), "file": "f.yaml"}}
    if name == "ApplySchedule":
        return {"text": SCHEDULE.replace("nightly", "weekly"), "template": TEMPLATE}
    if name == "ResumeSchedule":
        await client.pause_schedule("schedules/nightly")
    if name == "StartCampaign":
        await house.applied("draft", start=False)
        return {"name": "campaigns/draft"}
    if name == "ResumeCampaign":
        await client.pause_campaign("campaigns/camp")
    if name == "ArchiveCampaign":
        await client.cancel_campaign("campaigns/camp")
        await house.reach("campaigns/camp", "CANCELLED")
    if name == "UpdateFacility":
        return {"name": names["facility"], "limits": {"slots": 50}}
    if name == "ReviveFacility":
        kill = next(m for m in ALL if m.name == "KillFacility")
        await house.raw(kill, request_of(kill, name=names["facility"], reason="smoke"))
    if name == "UndrainFacility":
        await client.drain_facility("facilities/USDF", reason="x")
    if name == "SignStep":
        return {"name": "campaigns/camp/steps/look"}
    if name == "ReleaseStep":
        text = campaign_file("held").replace(
            '{by: tract, ranges: ["1..3"]}', "{splitter: fake, count: 0}"
        )
        await client.apply_campaign(text, start=True)
        await house.reach("campaigns/held/steps/one", "HELD")
        return {"name": "campaigns/held/steps/one"}
    if name == "ControlJob":
        return {"name": await _group_for(house, name), "priority": 5}
    if name.endswith("Group"):
        where = {"facility": names["facility"]} if name == "MoveGroup" else {}
        return {"name": await _group_for(house, name), **where}
    kind = next(kind for kind in KINDS if name.endswith(kind.capitalize()))
    return {"name": names[kind]}


@pytest.mark.parametrize("method", COMMANDS, ids=_id)
async def test_a_repeated_request_is_done_once(full: House, method: MethodDescriptor) -> None:
    fields = await _ready_for(full, method)
    if has(method, "etag") and not method.name.startswith("Apply"):
        stale = request_of(method, **fields, reason="because", etag="stale")
        told = await refusal(full.raw(method, stale))
        assert told == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    request = request_of(method, **fields, reason="because", request_id=f"id-{method.name}")
    answers = await asyncio.gather(*(full.raw(method, request) for _ in range(5)))
    assert all(type(answer) is type(answers[0]) for answer in answers)
    await full.raw(method, request)
    done = [e async for e in _events(full) if e.request_id == f"id-{method.name}"]
    causes = {(e.name, e.cause, e.to_state) for e in done}
    assert len(done) == len(causes), "done more than once"
    assert done, "not in the history"
    assert all(e.actor for e in done)
    audited = [e async for e in full.client.audit() if e.request_id == f"id-{method.name}"]
    assert len(audited) == 6
    assert {(e.who, e.proof, e.result) for e in audited} == {(done[0].actor, "socket", "OK")}
    assert {e.method.rpartition("/")[2] for e in audited} == {method.name}
    assert all(e.name for e in audited)
    assert sum(bool(e.before or e.after) for e in audited) == 1, "changed once"
    other = request_of(method, **fields, reason="another", request_id=f"id-{method.name}")
    told = await refusal(full.raw(method, other))
    assert told == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    too_long = request_of(method, **fields, reason="x" * 3000)
    assert (await refusal(full.raw(method, too_long)))[0] == grpc.StatusCode.INVALID_ARGUMENT
    too_long = request_of(method, **fields, reason="x", request_id="x" * 300)
    assert (await refusal(full.raw(method, too_long)))[0] == grpc.StatusCode.INVALID_ARGUMENT


async def _events(house: House) -> Any:
    token = ""
    while True:
        page = await house.client.list_events(page_size=1000, page_token=token)
        for event in page.events:
            yield event
        token = page.next_page_token
        if not token:
            return


async def test_an_unknown_way_to_retry_is_refused(full: House) -> None:
    (method,) = [m for m in ALL if m.name == "RetryGroup"]
    request = request_of(method, name=full.one_of_each()["group"], mode=77)
    assert await refusal(full.raw(method, request)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_ARGUMENT",
    )
