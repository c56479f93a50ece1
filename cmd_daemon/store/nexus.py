"""The nexus log, read from the books that movements leave in `extra` of their attempts.

Of each group and movement only the attempt counts that told books last: a register tells what was
made, the transfer after it how much has been sent and has arrived, the ingest what was taken in; a
movement that was begun anew starts with a new register. Which is the last follows from the order of
the jobs and their attempts, not from the times at which they ended: a clock may have been set back. The
daemon itself never decides anything on books: they are for people, and so is this.

A step has up to 10^5 groups, so the summing is done where the rows are: in the database's JSON functions,
and only what counts is parsed. That many take seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import TextClause, text

from cmd_daemon.kernel.records import NexusRow, WayRow
from cmd_daemon.store.dialect import ReaderConnection

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
    CASE WHEN a.number > j.fresh_from THEN 1 ELSE 0 END AS counts, {movement} AS movement
  FROM jobs AS j JOIN attempts AS a ON a.job_id = j.id
  WHERE {within} AND j.kind IN ('register', 'transfer', 'ingest', 'bundle', 'purge')
    AND a.extra LIKE '%"books"%'
), newest AS (
  SELECT * FROM (
    SELECT *, row_number() OVER (
      PARTITION BY group_id, movement ORDER BY counts DESC, position DESC, number DESC
    ) AS place FROM told
  ) AS placed WHERE place = 1
), entry AS (
  SELECT n.group_id, n.job_id, n.position, n.movement, n.finished_at, {columns}, e.value AS book
  FROM newest AS n
  JOIN attempts AS a ON a.job_id = n.job_id AND a.number = n.number
  {books}
)
"""
_SUMS = """
SELECT movement, source, destination, type, {sums}, count(DISTINCT group_id), max(finished_at)
FROM entry GROUP BY movement, source, destination, type
ORDER BY min(position), source, destination, type
"""
_SINGLE = """
SELECT n.movement, n.source, n.destination, n.type, {counts}, 1, n.finished_at, g.name, j.name, j.state,
  {gaps}
FROM entry AS n JOIN groups AS g ON g.id = n.group_id JOIN jobs AS j ON j.id = n.job_id
WHERE n.missing >= :missing
ORDER BY g.state = 'HELD' DESC, g.id, n.position, n.source, n.destination, n.type LIMIT :most
"""
_WAYS = """
SELECT source, destination, {sums}, count(DISTINCT group_id)
FROM entry WHERE movement <> 'purge' GROUP BY source, destination ORDER BY source, destination
"""
_WAY_COUNTS = ("made", "sent", "arrived", "ingested", "bytes", "missing")


@dataclass(frozen=True, slots=True)
class _Words:
    """How one kind of database says it. `text` and `count` are of a field `{name}` of an entry."""

    movement: str
    books: str
    text: str
    count: str
    sum: str
    gaps: str

    def query(self, within: str, then: str, summed: Sequence[str] = _COUNTS) -> TextClause:
        """The question of a step, of a group or of campaigns; `summed` are the counts in `{sums}`."""
        texts = [f"{self.text.format(name=n)} AS {n}" for n in ("source", "destination", "type")]
        counts = [f"{self.count.format(name=n)} AS {n}" for n in _COUNTS]
        head = _NEWEST.format(
            within=within,
            columns=", ".join(texts + counts),
            movement=self.movement,
            books=self.books,
        )
        tail = then.format(
            sums=", ".join(self.sum.format(name=n) for n in summed),
            counts=", ".join(f"n.{n}" for n in _COUNTS),
            gaps=self.gaps,
        )
        return text(head + tail)


_WORDS = {
    "sqlite": _Words(
        movement=(
            "CASE instr(j.name, '-') WHEN 0 THEN j.name "
            "ELSE substr(j.name, 1, instr(j.name, '-') - 1) END"
        ),
        books=(
            "JOIN json_each(CASE WHEN json_valid(a.extra) THEN a.extra ELSE '{}' END, '$.books') "
            "AS e ON e.type = 'object'"
        ),
        text="CAST(coalesce(json_extract(e.value, '$.{name}'), '') AS TEXT)",
        count=(
            f"max(0, min({MOST}, CAST(coalesce(json_extract(e.value, '$.{{name}}'), 0) AS INTEGER)))"
        ),
        sum=f"CAST(min(total({{name}}), {MOST}) AS INTEGER)",
        gaps=(
            "CASE WHEN json_type(n.book, '$.gaps') = 'array' "
            "THEN json_extract(n.book, '$.gaps') ELSE '[]' END"
        ),
    ),
    "postgresql": _Words(
        movement="split_part(j.name, '-', 1)",
        # `cmd_json` is our own: NULL for a text that is no JSON.
        books=(
            "CROSS JOIN LATERAL cmd_json(a.extra) AS told "
            "CROSS JOIN LATERAL jsonb_array_elements(CASE WHEN jsonb_typeof(told -> 'books') = 'array' "
            "THEN told -> 'books' ELSE '[]' END) AS e(value) WHERE jsonb_typeof(e.value) = 'object'"
        ),
        text="coalesce(e.value ->> '{name}', '')",
        count=(
            "CASE WHEN jsonb_typeof(e.value -> '{name}') = 'number' THEN greatest(0, "
            f"least({MOST}, trunc((e.value ->> '{{name}}')::numeric)))::int8 ELSE 0 END"
        ),
        sum=f"least(sum({{name}}), {MOST})::int8",
        gaps=(
            "CASE WHEN jsonb_typeof(n.book -> 'gaps') = 'array' "
            "THEN (n.book -> 'gaps')::text ELSE '[]' END"
        ),
    ),
}
_LIVE = "j.campaign_id IN (SELECT id FROM campaigns WHERE state <> 'ARCHIVED')"
_OF_STEP, _GAPS, _OF_GROUP, _WAYS_OF_STEP, _WAYS_OF_CAMPAIGN, _ALL_WAYS = (
    {name: words.query(within, then, summed) for name, words in _WORDS.items()}
    for within, then, summed in (
        ("j.step_id = :step_id", _SUMS, _COUNTS),
        ("j.step_id = :step_id", _SINGLE, _COUNTS),
        ("j.group_id = :group_id", _SINGLE, _COUNTS),
        ("j.step_id = :id", _WAYS, _WAY_COUNTS),
        ("j.campaign_id = :id", _WAYS, _WAY_COUNTS),
        (_LIVE, _WAYS, _WAY_COUNTS),
    )
)


class NexusReading:
    """The reading half of the store, as to the nexus log."""

    _reading: ReaderConnection

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
        queries = _WAYS_OF_STEP if step_id is not None else _WAYS_OF_CAMPAIGN
        ident = step_id if step_id is not None else campaign_id
        if ident is None:
            return [WayRow(*row) for row in await self._rows(_ALL_WAYS)]
        return [WayRow(*row) for row in await self._rows(queries, id=ident)]

    async def _ask(self, queries: Mapping[str, TextClause], **values: int) -> list[NexusRow]:
        return [NexusRow(*row) for row in await self._rows(queries, **values)]

    async def _rows(self, queries: Mapping[str, TextClause], **values: int) -> Sequence[Any]:
        async with self._reading() as connection:
            query = queries[connection.dialect.name]
            return (await connection.execute(query, values)).all()
