"""The nexus log, read from the books that movements leave in `extra` of their attempts.

Of each group and movement only the attempt counts that told books last: a register tells what was
made, the transfer after it how much has been sent and has arrived, the ingest what was taken in; a
movement that was begun anew starts with a new register. The daemon itself never decides anything on
books: they are for people, and so is this.

A step has up to 10^5 groups, so the summing is done where the rows are: in SQLite's JSON functions, and
only what counts is parsed. That many take seconds.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from cmd_daemon.kernel.records import NexusRow, WayRow

_COUNTS = (
    "made", "registered", "rule_ok", "sent", "arrived", "ingested", "not_for_here", "bytes", "purged",
    "missing",
)  # fmt: skip

MOST = 2**53
"""No count is larger than this: up to here sums in floating point, which cannot overflow, are exact."""

MOST_ENTRIES = 10_000
"""Entries of one group, at most."""

_NEWEST = """
WITH told AS (
  SELECT j.group_id, j.id AS job_id, j.position, a.number, a.finished_at,
    CASE instr(j.name, '-') WHEN 0 THEN j.name
      ELSE substr(j.name, 1, instr(j.name, '-') - 1) END AS movement
  FROM jobs AS j JOIN attempts AS a ON a.job_id = j.id
  WHERE {within} AND j.kind IN ('register', 'transfer', 'ingest', 'bundle', 'purge')
    AND instr(a.extra, '"books"') > 0
), newest AS (
  SELECT * FROM (
    SELECT *, row_number() OVER (
      PARTITION BY group_id, movement ORDER BY finished_at DESC, position DESC, number DESC
    ) AS place FROM told
  ) WHERE place = 1
), entry AS (
  SELECT n.group_id, n.job_id, n.position, n.movement, n.finished_at, {columns}, e.value AS book
  FROM newest AS n
  JOIN attempts AS a ON a.job_id = n.job_id AND a.number = n.number
  JOIN json_each(CASE WHEN json_valid(a.extra) THEN a.extra ELSE '{{}}' END, '$.books') AS e
    ON e.type = 'object'
)
"""
_COLUMNS = ", ".join(
    [
        f"CAST(coalesce(json_extract(e.value, '$.{name}'), '') AS TEXT) AS {column}"
        for column, name in (("source", "source"), ("destination", "destination"), ("type", "type"))
    ]
    + [
        f"max(0, min({MOST}, CAST(coalesce(json_extract(e.value, '$.{name}'), 0) AS INTEGER))) AS {name}"
        for name in _COUNTS
    ]
)
_SUMS = """
SELECT movement, source, destination, type, {sums}, count(DISTINCT group_id), max(finished_at)
FROM entry GROUP BY movement, source, destination, type
ORDER BY min(position), source, destination, type
"""
_SINGLE = """
SELECT n.movement, n.source, n.destination, n.type, {counts}, 1, n.finished_at, g.name, j.name, j.state,
  CASE WHEN json_type(n.book, '$.gaps') = 'array' THEN json_extract(n.book, '$.gaps') ELSE '[]' END
FROM entry AS n JOIN groups AS g ON g.id = n.group_id JOIN jobs AS j ON j.id = n.job_id
WHERE n.missing >= :missing
ORDER BY g.state = 'HELD' DESC, g.id, n.position, n.source, n.destination, n.type LIMIT :most
"""
_WAYS = """
SELECT source, destination, {sums}, count(DISTINCT group_id)
FROM entry WHERE movement <> 'purge' GROUP BY source, destination ORDER BY source, destination
"""
_WAY_COUNTS = ("made", "sent", "arrived", "ingested", "bytes", "missing")


def _query(within: str, then: str, summed: Sequence[str] = _COUNTS) -> TextClause:
    head = _NEWEST.format(within=within, columns=_COLUMNS)
    return text(
        head
        + then.format(
            sums=", ".join(f"CAST(min(total({name}), {MOST}) AS INTEGER)" for name in summed),
            counts=", ".join(f"n.{name}" for name in _COUNTS),
        )
    )


_OF_STEP = _query("j.step_id = :step_id", _SUMS)
_GAPS = _query("j.step_id = :step_id", _SINGLE)
_OF_GROUP = _query("j.group_id = :group_id", _SINGLE)
_WAYS_OF_STEP = _query("j.step_id = :id", _WAYS, _WAY_COUNTS)
_WAYS_OF_CAMPAIGN = _query("j.campaign_id = :id", _WAYS, _WAY_COUNTS)
_ALL_WAYS = _query(
    "j.campaign_id IN (SELECT id FROM campaigns WHERE state <> 'ARCHIVED')", _WAYS, _WAY_COUNTS
)


class NexusReading:
    """The reading half of the store, as to the nexus log."""

    _readers: AsyncEngine

    async def nexus_of_step(self, step_id: int) -> list[NexusRow]:
        """The books of all groups of a step, summed for each movement, way and dataset type."""
        return await self._ask(_OF_STEP, step_id=step_id)

    async def nexus_gaps(self, step_id: int, most: int) -> list[NexusRow]:
        """The entries with gaps of single groups of a step, `most` at most: of HELD groups first."""
        return await self._ask(_GAPS, step_id=step_id, missing=1, most=most)

    async def nexus_of_group(self, group_id: int) -> list[NexusRow]:
        """The entries of one group, movement by movement."""
        return await self._ask(_OF_GROUP, group_id=group_id, missing=0, most=MOST_ENTRIES)

    async def ways(
        self, campaign_id: int | None = None, step_id: int | None = None
    ) -> list[WayRow]:
        """The books of a step, a campaign, or all campaigns that are not archived, summed for each way."""
        query = _WAYS_OF_STEP if step_id is not None else _WAYS_OF_CAMPAIGN
        ident = step_id if step_id is not None else campaign_id
        if ident is None:
            return [WayRow(*row) for row in await self._rows(_ALL_WAYS)]
        return [WayRow(*row) for row in await self._rows(query, id=ident)]

    async def _ask(self, query: TextClause, **values: int) -> list[NexusRow]:
        return [NexusRow(*row) for row in await self._rows(query, **values)]

    async def _rows(self, query: TextClause, **values: int) -> Sequence[Any]:
        async with self._readers.connect() as connection:
            return (await connection.execute(query, values)).all()
