"""The events of one commit, as they were decided, in one compressed row: JSON lines.

A row an event would have cost a third of the writer's speed; in sets they compress ten to one.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import TypeAdapter

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.commands import Command
from cmd_daemon.kernel.decided import Around, Decided
from cmd_daemon.store import codec
from cmd_daemon.store.codec import Row

DECIDED = ("first_seq", "last_seq", "data")
LEVEL = 1  # of zlib: the fastest

Line = list[Any]
"""Of an event: its class, `at`, `next_id`, `seq`, `campaign_id`, its fields, its schedule's row or None.
Of surroundings: "around", `commandable` as triples, `patience`, rows of facilities."""

AROUND = "around"
_KINDS = {
    name: kind
    for name, kind in vars(ev).items()
    if isinstance(kind, type) and issubclass(kind, ev.Event)
}
_adapters: dict[str, TypeAdapter[Any]] = {}


def _adapter(name: str) -> TypeAdapter[Any]:
    found = _adapters.get(name)
    if found is None:
        found = _adapters[name] = TypeAdapter(_KINDS[name])
    return found


def packed(items: Sequence[Around | Decided], last_seq: int) -> Row:
    """The row of a commit's events, columns as `DECIDED`. `last_seq` is that of the last record in it; 0 if
    it has none."""
    seqs = [item.seq for item in items if isinstance(item, Decided)]
    text = b"\n".join(map(_written, items))
    return seqs[0], max(seqs[-1], last_seq), zlib.compress(text, LEVEL)


def lines_of(data: bytes) -> Iterator[Line]:
    """The lines of a row's `data`."""
    for text in zlib.decompress(data).split(b"\n"):
        yield json.loads(text)


def _written(item: Around | Decided) -> bytes:
    if isinstance(item, Around):
        return json.dumps(_around(item), separators=(",", ":")).encode()
    name = type(item.event).__name__
    # Whoever decides once more may have other defaults: a campaign's policies are written in full.
    brief = not isinstance(item.event, ev.CampaignApplied | ev.StepSplit | ev.ScheduleDue)
    fields = _adapter(name).dump_json(item.event, exclude_defaults=brief)
    head = f'["{name}",{item.at},{item.next_id},{item.seq},{json.dumps(item.campaign_id)},'
    row = None if item.schedule is None else codec.schedule_to_row(item.schedule)
    return b"%s%s,%s]" % (head.encode(), fields, json.dumps(row).encode())


def _around(item: Around) -> Line:
    commandable = [
        [facility, driver, sorted(commands)]
        for (facility, driver), commands in item.commandable.items()
    ]
    facilities = [codec.facility_to_row(state) for state in item.facilities.values()]
    return [AROUND, commandable, item.patience, facilities]


def item_of(line: Line) -> Around | Decided:
    """What a line tells. Raises ValueError, TypeError or KeyError for one that tells nothing."""
    if line[0] == AROUND:
        return Around(
            {(f, d): frozenset(map(Command, commands)) for f, d, commands in line[1]},
            line[2],
            {row[0]: codec.facility_of(row) for row in line[3]},
        )
    name, at, next_id, seq, campaign_id, event, schedule = line
    return Decided(
        _adapter(name).validate_python(event, strict=False),
        at,
        next_id,
        seq,
        campaign_id,
        None if schedule is None else codec.schedule_of(schedule),
    )
