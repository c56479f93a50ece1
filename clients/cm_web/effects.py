"""What an action will affect, in words, before it is confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from cmd_api.v1.facility_pb2 import Facility
from cmd_api.v1.group_pb2 import Group, MoveGroupResponse

from cm_client import CmError, is_sum, parse_name, short_name
from cm_client.words import FINAL, counted, size, state_word

from . import states
from .desk import Desk

LOOKED_AT = 20
"""Groups that are looked at one by one; of more only their number is told."""


@dataclass(slots=True)
class Choice:
    """A facility that groups can be moved to, and what that costs."""

    facility: str
    lines: list[str]
    possible: bool = True


@dataclass(slots=True)
class Effect:
    """Sentences, the etags of what was looked at (by resource name), and, for a move, the choices."""

    lines: list[str] = field(default_factory=list)
    etags: dict[str, str] = field(default_factory=dict)
    choices: list[Choice] = field(default_factory=list)


Tell = Callable[[Desk, Sequence[str], str], Coroutine[Any, Any, Effect]]


async def effect_of(desk: Desk, verb: str, names: Sequence[str], mode: str) -> Effect:
    """What the verb will do to these entities. Raises CmError if they cannot be looked at."""
    kind = names[0].split("/")[0::2][-1]
    tell = _TELLERS.get((kind, verb)) or _TELLERS.get((kind, ""))
    return await tell(desk, names, f"{verb}:{mode}") if tell else Effect()


async def _campaign(desk: Desk, names: Sequence[str], verb: str) -> Effect:
    campaign = await desk.client.get_campaign(names[0])
    counts = dict(campaign.group_counts)
    open_groups = sum(n for state, n in counts.items() if state not in FINAL)
    flying = counted(campaign.in_flight, "job")
    lines = {
        "start": ["Its first steps begin at once: they are split, placed and submitted."],
        "pause": [
            "Nothing new is submitted.",
            f"{flying} in outside systems end by themselves; then it is PAUSED.",
        ],
        "resume": ["What waits is submitted again."],
        "cancel": [
            f"{flying} in outside systems are cancelled there.",
            f"{counted(open_groups, 'group')} of {sum(counts.values())} are not final and become "
            "CANCELLED.",
            "This cannot be taken back.",
        ],
        "archive": ["It no longer shows in lists. This cannot be taken back."],
    }.get(verb.partition(":")[0], [])
    return Effect(lines, {campaign.name: campaign.etag})


async def _step(desk: Desk, names: Sequence[str], verb: str) -> Effect:
    step = await desk.client.get_step(names[0])
    campaign = names[0].partition("/steps/")[0]
    name = names[0].rpartition("/")[2]
    if verb.startswith("sign"):
        others = await desk.steps(campaign)
        then = [each.name.rpartition("/")[2] for each in others if name in each.after]
        lines = [step.breakpoint] if step.breakpoint else []
        lines.append(
            f"The steps after it go on: {', '.join(then)}." if then else "No step comes after it."
        )
    else:
        lines = [f"It is tried again. It is held because: {step.reason}" if step.reason else ""]
    return Effect([line for line in lines if line], {step.name: step.etag})


async def _groups(desk: Desk, names: Sequence[str], verb: str) -> Effect:
    word, _, mode = verb.partition(":")
    groups = await _looked_at(desk, names)
    lines = []
    if len(names) > LOOKED_AT:
        lines.append(f"{len(names)} groups, each of them as it is when its turn comes.")
    elif len(names) > 1:
        found: dict[str, int] = {}
        for group in groups:
            found[state_word(group)] = found.get(state_word(group), 0) + 1
        told = ", ".join(f"{n} {state}" for state, n in states.ordered(found))
        lines.append(f"{len(names)} groups: {told}.")
    lines += _what(word, mode, groups)
    return Effect(lines, {group.name: group.etag for group in groups})


def _what(word: str, mode: str, groups: Sequence[Group]) -> list[str]:
    open_quanta = sum(max(0, g.quanta.expected - g.quanta.succeeded) for g in groups)
    match word, mode:
        case "retry", "missing-only":
            return [
                f"A new attempt, of the {open_quanta} quanta that did not succeed.",
                "What former attempts made stays and counts.",
            ]
        case "retry", "from-start":
            return ["A new attempt, of everything.", "What former attempts made is no longer used."]
        case "retry", _:
            return ["A new attempt of the job it is at, with a new budget of attempts."]
        case "accept", _:
            lost = f"{open_quanta} quanta that did not succeed are" if open_quanta else "Losses are"
            return [f"No new attempt: it goes on with what it has. {lost} recorded as lost."]
        case "reject", _:
            return [
                "It is left out for good, and its step goes on without it.",
                "This cannot be taken back.",
            ]
        case "hold", _:
            return ["Nothing more is submitted for it until it is released; what runs goes on."]
        case "release", _:
            return ["Its hold is taken back; an uncertain job is looked up again."]
    return []


async def _looked_at(desk: Desk, names: Sequence[str]) -> list[Group]:
    if len(names) > LOOKED_AT:
        return []
    return list(await asyncio.gather(*(desk.client.get_group(name) for name in names)))


async def _move(desk: Desk, names: Sequence[str], verb: str) -> Effect:
    groups = await _looked_at(desk, names)
    effect = Effect(
        [
            "A group that has begun begins anew there. Its region follows with groups that come later."
        ],
        {group.name: group.etag for group in groups},
    )
    here = {group.facility for group in groups}
    for facility in await desk.facilities():
        if here == {facility.name}:
            continue
        effect.choices.append(await _cost(desk, groups, facility))
    return effect


async def _cost(desk: Desk, groups: Sequence[Group], facility: Facility) -> Choice:
    """What moving these groups to a facility costs together."""

    async def one(group: Group) -> MoveGroupResponse | CmError:
        try:
            return await desk.client.move_group(group.name, facility.name, validate_only=True)
        except CmError as error:
            return error

    told = await asyncio.gather(*map(one, groups))
    refused = list(dict.fromkeys(each.message for each in told if isinstance(each, CmError)))
    costs = [each for each in told if not isinstance(each, CmError)]
    against = [f for each in costs for f in each.placement.factors if not f.passed]
    lines = [f"{factor.name}: {factor.detail}" for factor in against[:5]]
    files = sum(each.cost.missing_files for each in costs)
    if files:
        missing = sum(each.cost.missing_bytes for each in costs)
        lines.append(f"{counted(files, 'input')} to bring there, {size(missing)}")
    if again := sum(each.cost.quanta_lost for each in costs):
        lines.append(f"{again} quanta are made again")
    if behind := {name for each in costs for name in each.cost.left_behind}:
        lines.append(f"outputs of {counted(len(behind), 'group')} of its region stay behind")
    lines += list(dict.fromkeys(note for each in costs for note in each.cost.notes))[:5]
    return Choice(facility.name, refused + lines, possible=not refused or bool(costs))


async def _facility(desk: Desk, names: Sequence[str], verb: str) -> Effect:
    facility = await desk.client.get_facility(names[0])
    running, ready = counted(facility.running, "job"), counted(facility.queued, "job")
    placed = sum(load.placed for load in facility.load)
    lines = {
        "drain": [
            f"No new work is sent there: {ready} ready there wait, or are placed elsewhere.",
            f"{running} that run there go on. {counted(placed, 'group')} placed there have not begun.",
        ],
        "undrain": ["It takes new work again."],
        "kill": [
            f"{running} of ours that run there are cancelled, now, and their groups are held.",
            "It takes no new work until it is revived.",
        ],
        "revive:": ["It takes new work again; groups that the kill held stay held for persons."],
        "revive:retry": [
            "It takes new work again, and the jobs that the kill ended are tried again."
        ],
    }
    return Effect(lines.get(verb) or lines.get(verb.partition(":")[0]) or [])


async def _redrive(desk: Desk, names: Sequence[str], verb: str) -> Effect:
    log = await desk.client.get_nexus(names[0])
    single = [entry for entry in log.entries if entry.gap_count and not is_sum(entry)]
    gaps = sum(entry.gap_count for entry in single)
    groups = sorted({parse_name(entry.group).parts[-1] for entry in single})
    shown = ", ".join(groups[:LOOKED_AT]) + (" …" if len(groups) > LOOKED_AT else "")
    lines = [
        f"{counted(gaps, 'gap')} in {counted(len(groups), 'group')}: {shown}.",
        "Groups whose movement is HELD are retried; what has arrived is not moved again.",
    ]
    return Effect(lines if gaps else [f"{short_name(names[0])} has no gaps."])


_TELLERS: dict[tuple[str, str], Tell] = {
    ("campaigns", ""): _campaign,
    ("steps", ""): _step,
    ("groups", ""): _groups,
    ("groups", "move"): _move,
    ("facilities", ""): _facility,
    ("steps", "redrive"): _redrive,
    ("groups", "redrive"): _redrive,
}
