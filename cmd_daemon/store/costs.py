"""What attempts cost, what groups lost and took, and the attempts that rules can be tried on."""

from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, or_, select

from cmd_daemon.kernel.records import AttemptRow, CostRow, GroupStory, TriedRow
from cmd_daemon.kernel.states import GroupState, JobKind
from cmd_daemon.store import codec
from cmd_daemon.store.dialect import ReaderConnection
from cmd_daemon.store.reading import columns
from cmd_daemon.store.statistics import within
from cmd_daemon.store.tables import attempts, groups, jobs, steps

_BAD = (GroupState.FAILED, GroupState.REJECTED, GroupState.HELD, GroupState.REVIEW)


class CostsReading:
    """The reading half of the store, as to costs. What is asked for is a campaign by its id or, with
    `step_id`, one of its steps."""

    _reading: ReaderConnection

    async def costs(self, campaign_id: int, step_id: int | None = None) -> list[CostRow]:
        """Finished attempts and their time by step (in order), facility and kind of job."""
        began = func.coalesce(
            attempts.c.started_at, attempts.c.submitted_at, attempts.c.finished_at
        )
        took = case(
            (attempts.c.finished_at > began, attempts.c.finished_at - began), else_=0
        ).label("took")
        each = (
            select(
                jobs.c.step_id,
                attempts.c.facility,
                jobs.c.kind,
                attempts.c.state,
                attempts.c.number,
                took,
            )
            .join(jobs, jobs.c.id == attempts.c.job_id)
            .where(within(jobs, campaign_id, step_id))
            .subquery()
        )
        query = (
            select(
                steps.c.name,
                each.c.facility,
                each.c.kind,
                func.count(),
                *(_number(each.c.state == state) for state in ("SUCCEEDED", "FAILED", "CANCELLED")),
                _number(each.c.number > 1),
                func.sum(each.c.took),
                func.sum(case((each.c.state == "FAILED", each.c.took), else_=0)),
                func.max(each.c.took),
            )
            .join(steps, steps.c.id == each.c.step_id)
            .group_by(steps.c.position, steps.c.name, each.c.facility, each.c.kind)
            .order_by(steps.c.position, each.c.facility, each.c.kind)
        )
        async with self._reading() as connection:
            rows = (await connection.execute(query)).all()
        return [CostRow(*row[:3], *(int(number) for number in row[3:])) for row in rows]

    async def losses(
        self, campaign_id: int, step_id: int | None, now: int, most: int
    ) -> list[GroupStory]:
        """Groups that failed or were rejected, then those that wait for a person, then those accepted with
        losses; of each the largest losses first."""
        bad = groups.c.state.in_([str(state) for state in _BAD])
        query = _stories(now).where(
            within(groups, campaign_id, step_id), or_(bad, groups.c.quanta_lost > 0)
        )
        gone = case((groups.c.state.in_(["FAILED", "REJECTED"]), 0), (bad, 1), else_=2)
        missing = groups.c.quanta_expected - groups.c.quanta_succeeded
        return await self._told(query.order_by(gone, missing.desc(), groups.c.id).limit(most))

    async def slowest(
        self, campaign_id: int, step_id: int | None, now: int, most: int
    ) -> list[GroupStory]:
        """Groups that were started, the longest first."""
        query = _stories(now).where(
            within(groups, campaign_id, step_id), groups.c.started_at.is_not(None)
        )
        return await self._told(query.order_by(_time(now).desc(), groups.c.id).limit(most))

    async def _told(self, query: Select[Any]) -> list[GroupStory]:
        async with self._reading() as connection:
            return [GroupStory(*row) for row in (await connection.execute(query)).all()]

    async def tried(
        self, campaign_id: int, step_id: int | None, most: int
    ) -> tuple[list[TriedRow], int]:
        """The newest `most` attempts that failed, or succeeded with failures (oldest first), and how many
        there are."""
        ours = within(jobs, campaign_id, step_id)
        asked = or_(
            attempts.c.state == "FAILED",
            (attempts.c.state == "SUCCEEDED") & attempts.c.failures.is_not(None),
        )
        query = (
            select(
                steps.c.name,
                groups.c.name,
                jobs.c.name,
                jobs.c.kind,
                jobs.c.state,
                jobs.c.attempt,
                jobs.c.budget_from,
                groups.c.state,
                func.count().over(),
                *columns(attempts, codec.ATTEMPT),
            )
            .select_from(attempts)
            .join(jobs, jobs.c.id == attempts.c.job_id)
            .join(groups, groups.c.id == jobs.c.group_id)
            .join(steps, steps.c.id == jobs.c.step_id)
            .where(ours, asked)
            .order_by(attempts.c.finished_at.desc(), attempts.c.job_id, attempts.c.number.desc())
            .limit(most)
        )
        async with self._reading() as connection:
            rows = (await connection.execute(query)).all()
        found = [_tried(tuple(row)) for row in reversed(rows)]
        return found, rows[0][8] if rows else 0


def _tried(row: tuple[Any, ...]) -> TriedRow:
    return TriedRow(*(*row[:8], AttemptRow(*row[9:])))


def _number(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.sum(case((condition, 1), else_=0))


def _time(now: int) -> ColumnElement[Any]:
    end = func.coalesce(groups.c.finished_at, now)
    return case((end > groups.c.started_at, end - groups.c.started_at), else_=0)


def _stories(now: int) -> Select[Any]:
    tries = (
        select(func.count())
        .select_from(attempts.join(jobs, jobs.c.id == attempts.c.job_id))
        .where(jobs.c.group_id == groups.c.id)
        .scalar_subquery()
    )
    # The reason for losses that were accepted is with the job that lost them.
    why = (
        select(func.max(jobs.c.reason))
        .where(jobs.c.group_id == groups.c.id, jobs.c.kind == JobKind.PROCESS.value)
        .scalar_subquery()
    )
    return select(
        steps.c.name,
        groups.c.name,
        groups.c.facility,
        groups.c.state,
        case(
            (groups.c.state == "ACCEPTED", func.coalesce(why, groups.c.reason, "")),
            else_=func.coalesce(groups.c.reason, why, ""),
        ),
        _time(now),
        tries,
        groups.c.quanta_expected,
        groups.c.quanta_succeeded,
        groups.c.quanta_lost,
        func.count().over(),
    ).join(steps, steps.c.id == groups.c.step_id)
