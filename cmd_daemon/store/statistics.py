"""Sums over many groups and attempts: what overviews and pictures are made of.

A campaign has up to 10^6 attempts, so they are summed where the rows are. Nothing is decided on these
numbers. What is in JSON (movements' books, quanta's failures) is read with the database's functions,
as in `nexus.py`.
"""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Table,
    TextClause,
    case,
    func,
    literal,
    select,
    text,
    union_all,
)

from cmd_daemon.kernel.records import FailureRow, GroupCount, SpanRow
from cmd_daemon.kernel.states import IN_FLIGHT_JOB
from cmd_daemon.store import tables
from cmd_daemon.store.dialect import ReaderConnection
from cmd_daemon.store.tables import attempts, groups, jobs, steps

MOST_MESSAGES = 5000
"""Different failures that are read at most; those that are rarer are only counted."""

MESSAGE = 500
"""Characters of a failure's message that are looked at."""

_BYTES = """
SELECT s.name, a.facility, (a.finished_at - :start) / :width, 'bytes', {sum}
FROM jobs AS j JOIN attempts AS a ON a.job_id = j.id JOIN steps AS s ON s.id = j.step_id
{books}
WHERE {within} AND j.kind = 'transfer' AND a.state = 'SUCCEEDED' AND a.extra LIKE '%"books"%'
  AND a.finished_at BETWEEN :start AND :last AND {moved}
GROUP BY 1, 2, 3
"""

_FAILURES = """
WITH failed AS (
  SELECT j.step_id, j.group_id, j.name AS job, a.number, a.facility, a.finished_at,
    coalesce(a.error_class, '') AS error_class, coalesce({task}, '') AS task,
    substr(coalesce(nullif({message}, ''), a.message), 1, {length}) AS said,
    coalesce({exit}, a.exit_code) AS exit_code
  FROM jobs AS j JOIN attempts AS a ON a.job_id = j.id
  LEFT JOIN {failures}
  WHERE {within} AND a.state = 'FAILED'
), alike AS (
  SELECT *, count(*) OVER same AS alike, min(finished_at) OVER same AS first_at,
    count(*) OVER () AS total,
    row_number() OVER (
      PARTITION BY said, task, exit_code, error_class, step_id, facility
      ORDER BY finished_at DESC, group_id DESC, number DESC
    ) AS place
  FROM failed
  WINDOW same AS (PARTITION BY said, task, exit_code, error_class, step_id, facility)
)
SELECT a.said, a.task, a.exit_code, a.error_class, s.name, a.facility, a.alike, a.first_at,
  a.finished_at, g.name, a.job, a.number, a.total
FROM alike AS a JOIN steps AS s ON s.id = a.step_id JOIN groups AS g ON g.id = a.group_id
WHERE a.place = 1 ORDER BY a.alike DESC, a.finished_at DESC LIMIT {most}
"""

_WORDS = {
    "sqlite": {
        "sum": "sum(max(0, CAST(coalesce(json_extract(e.value, '$.bytes'), 0) AS INTEGER)))",
        "books": (
            "JOIN json_each(CASE WHEN json_valid(a.extra) THEN a.extra ELSE '{}' END, '$.books') AS e"
        ),
        # What is no object cannot be looked into, and nothing else says in which order conditions are tried.
        "moved": (
            "CASE e.type WHEN 'object' "
            "THEN json_extract(e.value, '$.source') <> json_extract(e.value, '$.destination') END"
        ),
        "task": "CAST(json_extract(f.value, '$.task') AS TEXT)",
        "message": "json_extract(f.value, '$.message')",
        "exit": "json_extract(f.value, '$.exit')",
        "failures": (
            "json_each(CASE WHEN json_valid(a.failures) THEN a.failures ELSE '[]' END) AS f "
            "ON f.type = 'object'"
        ),
    },
    # `cmd_json` is our own: NULL for a text that is no JSON.
    "postgresql": {
        "sum": (
            "sum(CASE WHEN jsonb_typeof(e.value -> 'bytes') = 'number' "
            "THEN greatest(0, trunc((e.value ->> 'bytes')::numeric)) ELSE 0 END)::int8"
        ),
        "books": (
            "JOIN LATERAL jsonb_array_elements(CASE WHEN jsonb_typeof(cmd_json(a.extra) -> 'books') "
            "= 'array' THEN cmd_json(a.extra) -> 'books' ELSE '[]' END) AS e(value) "
            "ON jsonb_typeof(e.value) = 'object'"
        ),
        "moved": "e.value ->> 'source' <> e.value ->> 'destination'",
        "task": "f.value ->> 'task'",
        "message": "f.value ->> 'message'",
        "exit": (
            "CASE WHEN jsonb_typeof(f.value -> 'exit') = 'number' "
            "THEN trunc((f.value ->> 'exit')::numeric)::int8 END"
        ),
        "failures": (
            "LATERAL jsonb_array_elements(CASE WHEN jsonb_typeof(cmd_json(a.failures)) = 'array' "
            "THEN cmd_json(a.failures) ELSE '[]' END) AS f(value) ON jsonb_typeof(f.value) = 'object'"
        ),
    },
}

_CAMPAIGN = "j.campaign_id = :id"
_STEP = "j.step_id = :id"


def _said(question: str, database: str, step_id: int | None) -> TextClause:
    """A question about a campaign or a step, as one kind of database understands it."""
    within = _CAMPAIGN if step_id is None else _STEP
    words = {**_WORDS[database], "within": within, "length": MESSAGE, "most": MOST_MESSAGES}
    return text(question.format(**words))


class StatisticsReading:
    """The reading half of the store, as to sums. What is asked for is a campaign by its id or, with
    `step_id`, one of its steps."""

    _reading: ReaderConnection

    async def count_groups(
        self, campaign_id: int, step_id: int | None = None, slices: int = 0
    ) -> list[GroupCount]:
        """Groups by step, facility and state, and (`slices` > 0) by their place among the groups of
        their step, which are cut into so many slices of about the same size."""
        place: ColumnElement[Any] = literal(0)
        if slices:
            place = func.ntile(slices).over(partition_by=groups.c.step_id, order_by=groups.c.id)
        cut = (
            select(
                groups.c.step_id,
                groups.c.facility,
                groups.c.state,
                groups.c.id,
                place.label("slice"),
            )
            .where(within(groups, campaign_id, step_id))
            .subquery()
        )
        counted = (
            select(
                cut.c.step_id,
                cut.c.facility,
                cut.c.state,
                func.count().label("number"),
                cut.c.slice,
                func.min(cut.c.id).label("first"),
            )
            .group_by(cut.c.step_id, cut.c.facility, cut.c.state, cut.c.slice)
            .subquery()
        )
        query = (
            select(
                steps.c.name,
                counted.c.facility,
                counted.c.state,
                counted.c.number,
                counted.c.slice,
                groups.c.name,
            )
            .join(steps, steps.c.id == counted.c.step_id)
            .join(groups, groups.c.id == counted.c.first)
            .order_by(steps.c.position, counted.c.slice, counted.c.facility, counted.c.state)
        )
        async with self._reading() as connection:
            return [GroupCount(*row) for row in (await connection.execute(query)).all()]

    async def activity(
        self, campaign_id: int, step_id: int | None, start: int, width: int, spans: int
    ) -> list[SpanRow]:
        """What began and ended in each of `spans` spans of `width` microseconds from `start` on; what
        was before or after is left out. Attempts under way have begun too."""
        last = start + width * spans - 1
        ours = within(jobs, campaign_id, step_id)
        tried = jobs.join(attempts, attempts.c.job_id == jobs.c.id)
        began_at = func.coalesce(
            attempts.c.started_at, attempts.c.submitted_at, attempts.c.finished_at
        )
        flying_at = func.coalesce(jobs.c.started_at, jobs.c.submitted_at)
        begun = union_all(
            select(jobs.c.step_id, attempts.c.facility, began_at.label("at"))
            .select_from(tried)
            .where(ours),
            select(jobs.c.step_id, jobs.c.facility, flying_at.label("at")).where(
                ours,
                jobs.c.state.in_([str(state) for state in IN_FLIGHT_JOB]),
                tables.unfinished(jobs),
            ),
        ).subquery()
        span = (begun.c.at - start) // width
        of_begun = (
            select(steps.c.name, begun.c.facility, span, literal("begun"), func.count())
            .join(steps, steps.c.id == begun.c.step_id)
            .where(begun.c.at.between(start, last))
            .group_by(steps.c.name, begun.c.facility, span)
        )
        # An attempt that goes on from a former one counts what that one had done, too.
        former = func.lag(attempts.c.successful).over(
            partition_by=attempts.c.job_id, order_by=attempts.c.number
        )
        new = attempts.c.successful - func.coalesce(former, 0)
        ended = (
            select(
                jobs.c.step_id,
                attempts.c.facility,
                attempts.c.finished_at.label("at"),
                attempts.c.state,
                case((new > 0, new), else_=0).label("quanta"),
            )
            .select_from(tried)
            .where(ours)
            .subquery()
        )
        span = (ended.c.at - start) // width
        of_ended = (
            select(
                steps.c.name,
                ended.c.facility,
                span,
                ended.c.state,
                func.count(),
                func.sum(ended.c.quanta),
            )
            .join(steps, steps.c.id == ended.c.step_id)
            .where(ended.c.at.between(start, last))
            .group_by(steps.c.name, ended.c.facility, span, ended.c.state)
        )
        values = {"id": campaign_id if step_id is None else step_id}
        values |= {"start": start, "width": width, "last": last}
        async with self._reading() as connection:
            of_bytes = _said(_BYTES, connection.dialect.name, step_id)
            rows = [
                *(await connection.execute(of_begun)).all(),
                *(await connection.execute(of_ended)).all(),
                *(await connection.execute(of_bytes, values)).all(),
            ]
        return [SpanRow(*row) for row in rows]

    async def failures(self, campaign_id: int, step_id: int | None = None) -> list[FailureRow]:
        """What failed attempts and their quanta said, the most frequent message first."""
        ident = campaign_id if step_id is None else step_id
        async with self._reading() as connection:
            query = _said(_FAILURES, connection.dialect.name, step_id)
            rows = (await connection.execute(query, {"id": ident})).all()
        return [FailureRow(*row) for row in rows]


def within(table: Table, campaign_id: int, step_id: int | None) -> ColumnElement[bool]:
    """Rows of `table` that belong to the campaign or, if given, to the step."""
    return table.c.campaign_id == campaign_id if step_id is None else table.c.step_id == step_id
