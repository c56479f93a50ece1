"""Which tasks PanDA has of ours: the look-up after a submission whose answer was lost.

PanDA finds a task by its name only once JEDI has refined it, seconds to minutes after it was taken. Until
then it is found by its id alone: its parameters can be read at once, and have the name. Ids are
given out one after another, so a task taken after another one of ours stands among the next ids.

- found by name, or among the next ids: it is there, for certain.
- the call may still arrive (`settle_s`): unclear.
- later: absent. Should the task be there all the same, not refined for so long, then its name makes
  PanDA refuse a second submission and tell the first one's id, which is adopted.
"""

import asyncio
from collections.abc import Iterable, Mapping

from cmd_panda.server import PandaServer
from cmd_panda.watching import Tasks

SCANNED = 100
"""Ids that are asked for, from the last known one on."""

UNKNOWN_AT_END = 10
"""So many ids nobody has given out, one after another, are the end of those given out."""


async def by_name(server: PandaServer, names: Iterable[str]) -> dict[str, list[int]]:
    """The ids of the refined tasks of these names, the oldest first. Raises PandaFault."""

    async def one(name: str) -> tuple[str, list[int]]:
        records, _ = await server.tasks_since(0, 100, {"taskName": name})
        return name, sorted(each.id for each in records if each.name == name)

    told = await asyncio.gather(*(one(name) for name in names))
    return {name: ids for name, ids in told if ids}


async def by_next_ids(server: PandaServer, names: Iterable[str], after: int) -> dict[str, int]:
    """The tasks of these names among those with the next ids after one that is known, refined or
    not. Without a known one (0) nothing is found. Raises PandaFault."""
    wanted = set(names)
    found: dict[str, int] = {}
    unknown = 0
    if after <= 0:
        return found
    for id in range(after + 1, after + 1 + SCANNED):
        if not wanted or unknown >= UNKNOWN_AT_END:
            break
        parameters = await server.task_parameters(id)
        if parameters is None:
            unknown += 1
            continue
        unknown = 0
        name = str(parameters.get("taskName"))
        if name in wanted:
            wanted.remove(name)
            found[name] = id
    return found


def last_before(tasks: Tasks, books_say: int, at: int) -> int:
    """The highest id that is known to have been given out before a moment."""
    seen = [each.id for each in tasks.all() if each.created is not None and each.created < at]
    return max([books_say, *seen])


def unsettled_s(sent_at: int, now: int, settle_s: float) -> float:
    """Seconds for which a submission without an answer may still arrive; negative when it cannot."""
    return settle_s - (now - sent_at) / 1e6


def doubles(found: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """Tasks that have the name of another one, by name: nobody asked for these."""
    return {name: ids[1:] for name, ids in found.items() if len(ids) > 1}
