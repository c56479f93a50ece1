"""A campaign written from a database in use into a file."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Select, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cmd_daemon.kernel.states import FINAL_CAMPAIGN
from cmd_daemon.store import tables
from cmd_daemon.store.decided import AROUND, Line, lines_of
from cmd_daemon.store.dialect import ReaderConnection
from cmd_daemon.store.errors import BadUrl
from cmd_daemon.store.loading import stream
from cmd_daemon.store.looking import one_moment
from cmd_daemon.store.portable.form import DECIDED, FORMS, Writing, head
from cmd_daemon.store.portable.shifting import Shift
from cmd_daemon.store.reading import columns

_SET = 5000


async def export(reading: ReaderConnection, campaign: str, target: Path) -> int:
    """Write a campaign, in whatever state, with its whole history into the new file `target`, as both are
    at one moment; the events in it. The daemon goes on meanwhile.

    Raises BadUrl if there is no such campaign, or the file is there or cannot be written; or another
    StoreError. There is no file then.
    """
    async with one_moment(reading) as connection:
        found = (
            await connection.execute(
                select(tables.campaigns.c.id, tables.campaigns.c.state).where(
                    tables.campaigns.c.name == campaign
                )
            )
        ).one_or_none()
        if found is None:
            raise BadUrl(f"there is no campaign {campaign!r} in the database")
        ident, state = found
        there = select(tables.steps.c.id).where(tables.steps.c.campaign_id == ident).limit(1)
        if (await connection.execute(there)).one_or_none() is None:
            raise BadUrl(
                f"campaign {campaign!r} has left the database: `cm events {campaign}` tells its file"
            )
        ask = select(
            func.coalesce(func.min(tables.events.c.seq), 1),
            func.coalesce(func.max(tables.events.c.seq), 0),
            func.count(),
        ).where(tables.events.c.campaign_id == ident)
        first, last, count = (await connection.execute(ask)).one()
        shift = Shift(1 - ident, 1 - first)
        # To a thread: a large campaign takes a while to compress, and the daemon may be waiting.
        with Writing(target) as file:
            file.lines([head(campaign, state, tables.SCHEMA_VERSION)])
            for table, (_, names) in FORMS.items():
                file.lines([{"table": table, "columns": names}])
                async for rows in _sets(connection, _rows(table, names, ident)):
                    await asyncio.to_thread(_write, file, partial(shift.rows, table), rows)
            file.lines([{"table": DECIDED}])
            chosen = _Chosen(ident, campaign, shift)
            query = select(tables.decided.c.data).where(tables.decided.c.last_seq >= first - 1)
            if state in FINAL_CAMPAIGN:
                query = query.where(tables.decided.c.first_seq <= last)
            async for rows in _sets(connection, query.order_by(tables.decided.c.id), 50):
                await asyncio.to_thread(_write, file, chosen.lines, rows)
    return int(count)


def _write(file: Writing, made: Callable[[Sequence[Any]], Any], rows: Sequence[Any]) -> None:
    file.lines(made(rows))


def _rows(table: str, names: Sequence[str], ident: int) -> Select[Any]:
    """The campaign's rows of a table, in the order in which they were made."""
    of = tables.metadata.tables[table]
    query = select(*columns(of, names))
    match table:
        case "campaigns":
            return query.where(of.c.id == ident)
        case "campaign_files":
            return query.where(of.c.campaign_id == ident).order_by(of.c.version)
        case "events":
            return query.where(of.c.campaign_id == ident).order_by(of.c.seq)
        case "attempts" | "effects":
            order = (of.c.job_id, of.c.number if table == "attempts" else of.c.key)
            return _below(query, of, tables.jobs, "job_id", ident).order_by(*order)
        case "placements":
            return _below(query, of, tables.groups, "group_id", ident).order_by(of.c.id)
    return query.where(of.c.campaign_id == ident).order_by(of.c.id)


def _below(query: Select[Any], of: Table, above: Table, key: str, ident: int) -> Select[Any]:
    return query.join(above, above.c.id == of.c[key]).where(above.c.campaign_id == ident)


async def _sets(
    connection: AsyncConnection, query: Select[Any], size: int = _SET
) -> AsyncIterator[list[Any]]:
    found: list[Any] = []
    async for row in stream(connection, query):
        found.append(row)
        if len(found) == size:
            yield found
            found = []
    if found:
        yield found


class _Chosen:
    """Of the events as they were decided, those that the campaign's history follows from."""

    def __init__(self, ident: int, name: str, shift: Shift) -> None:
        self._ident = ident
        self._name = name
        self._shift = shift
        self._around: Line | None = None
        self._told: Line | None = None

    def lines(self, rows: Sequence[Any]) -> list[Line]:
        """The lines of some rows."""
        found: list[Line] = []
        for (data,) in rows:
            for line in lines_of(data):
                if line[0] == AROUND:
                    self._around = line
                elif line[4] == self._ident or (line[4] is None and self._concerns(line)):
                    if self._around is not None and self._around != self._told:
                        found.append(self._around)
                        self._told = self._around
                    line[4] = self._ident  # in the file, all belong to the campaign
                    found.append(self._shift.line(line))
        return found

    def _concerns(self, line: Line) -> bool:
        kind, event, schedule = line[0], line[5], line[6]
        if kind != "ScheduleDue":
            return True
        launched = [each["name"] for each in event["campaigns"]]
        return self._name in launched or (
            schedule is not None and f'"{self._name}"' in schedule[-1]
        )
