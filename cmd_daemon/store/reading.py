"""What the API reads: always from the readers' connections, never from the writer's.

Lists are pages in the order of ids (the order of making), each row of which is newer than
`after_id`; a page shorter than `limit` is the last one. Rows written while somebody pages through
never move others between pages.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, func, select, union_all

from cmd_daemon.kernel.records import (
    AttemptRow,
    CampaignFile,
    CampaignRow,
    FacilityLoad,
    FacilityState,
    GroupRow,
    JobRow,
    PlacementRow,
    Record,
    RequestRow,
    StepRow,
)
from cmd_daemon.kernel.states import CampaignState, GroupState, JobKind, JobState
from cmd_daemon.store import codec, tables
from cmd_daemon.store.dialect import ReaderConnection
from cmd_daemon.store.tables import (
    attempts,
    campaign_files,
    campaigns,
    events,
    facilities,
    groups,
    jobs,
    placements,
    requests,
    steps,
)

MAX_PAGE = 10_000
MOST_IDS = 500  # values in one question; each number of them is a statement to prepare


@dataclass(frozen=True, slots=True)
class Reference:
    """The ids behind a resource name, down to where the name goes; the others are None."""

    campaign_id: int
    step_id: int | None = None
    group_id: int | None = None
    job_id: int | None = None


@dataclass(frozen=True, slots=True)
class Recount:
    """Groups and jobs counted one by one, step id -> state -> number; only numbers above zero."""

    groups: dict[int, dict[str, int]]
    jobs: dict[int, dict[str, int]]


def columns(table: Table, names: Sequence[str]) -> list[ColumnElement[Any]]:
    """The table's columns in the order of a dataclass's fields."""
    return [table.c[name] for name in names]


_CAMPAIGN = (
    select(*columns(campaigns, codec.CAMPAIGN), func.coalesce(campaign_files.c.ticket, ""))
    .select_from(campaigns)
    .outerjoin(
        campaign_files,
        (campaign_files.c.campaign_id == campaigns.c.id)
        & (campaign_files.c.version == campaigns.c.file_version),
    )
)
_STEP = (
    select(*columns(steps, codec.STEP), campaigns.c.name)
    .select_from(steps)
    .join(campaigns, campaigns.c.id == steps.c.campaign_id)
)
# Lists look the names up once and leave the joins to single reads.
_GROUP = select(*columns(groups, codec.GROUP), steps.c.name).join(
    steps, steps.c.id == groups.c.step_id
)
_JOB = (
    select(*columns(jobs, codec.JOB), steps.c.name, groups.c.name)
    .select_from(jobs)
    .join(groups, groups.c.id == jobs.c.group_id)
    .join(steps, steps.c.id == jobs.c.step_id)
)
_EVENT = select(*columns(events, codec.RECORD))


def _page(query: Select[Any], key: ColumnElement[int], after: int, limit: int) -> Select[Any]:
    if not 0 < limit <= MAX_PAGE:
        raise ValueError(f"a page holds 1 to {MAX_PAGE} rows, not {limit}")
    return query.where(key > after).order_by(key).limit(limit)


def _listing(
    query: Select[Any],
    table: Table,
    conditions: list[ColumnElement[bool]],
    states: Collection[str],
    after: int,
    limit: int,
) -> Select[Any]:
    """A page of rows that meet the conditions, in one of the states (none given: all).

    Without the happy end among the states the partial index of unfinished rows serves: it has the
    rows of one state in order, so a page is the first of the first pages of each state.
    """
    words = sorted(str(state) for state in states)
    happy_end = "ACCEPTED" if table is groups else "SUCCEEDED"
    if not words or happy_end in words:
        if words:
            conditions = [*conditions, table.c.state.in_(words)]
        return _page(query.where(*conditions), table.c.id, after, limit)
    firsts = [
        select(
            _page(
                select(table.c.id).where(
                    *conditions, table.c.state == word, tables.unfinished(table)
                ),
                table.c.id,
                after,
                limit,
            ).subquery()
        )
        for word in words
    ]
    return query.where(table.c.id.in_(union_all(*firsts))).order_by(table.c.id).limit(limit)


class Reading:
    """The reading half of the store. Everything is asynchronous and returns copies; a name that
    does not exist gives None or an empty list."""

    _reading: ReaderConnection

    async def _all(self, query: Select[Any]) -> Sequence[Any]:
        async with self._reading() as connection:
            rows: Sequence[Any] = (await connection.execute(query)).all()
        return rows

    async def _first(self, query: Select[Any]) -> Any | None:
        async with self._reading() as connection:
            return (await connection.execute(query)).first()

    # -- campaigns and steps --

    async def get_campaign(self, name: str) -> CampaignRow | None:
        """One campaign by its name, counters included."""
        row = await self._first(_CAMPAIGN.where(campaigns.c.name == name))
        return None if row is None else CampaignRow(codec.campaign_of(row[:-1]), row[-1])

    async def list_campaigns(
        self,
        states: Collection[CampaignState] = (),
        owner: str | None = None,
        limit: int = 1000,
        after_id: int = 0,
    ) -> list[CampaignRow]:
        """A page of campaigns, of these states and this owner (none given: all)."""
        query = _CAMPAIGN
        if states:
            query = query.where(campaigns.c.state.in_(sorted(str(s) for s in states)))
        if owner is not None:
            query = query.where(campaigns.c.owner == owner)
        rows = await self._all(_page(query, campaigns.c.id, after_id, limit))
        return [CampaignRow(codec.campaign_of(row[:-1]), row[-1]) for row in rows]

    async def get_step(self, campaign: str, step: str) -> StepRow | None:
        """One step by its names, counters included."""
        row = await self._first(_STEP.where(campaigns.c.name == campaign, steps.c.name == step))
        return None if row is None else StepRow(row[-1], codec.step_of(row[:-1]))

    async def list_steps(self, campaign: str) -> list[StepRow]:
        """All steps of a campaign in the order of its file."""
        query = _STEP.where(campaigns.c.name == campaign).order_by(steps.c.position, steps.c.id)
        return [StepRow(row[-1], codec.step_of(row[:-1])) for row in await self._all(query)]

    async def campaign_file(
        self, campaign_id: int, version: int | None = None
    ) -> CampaignFile | None:
        """One version of a campaign's file; None asks for the newest."""
        query = select(*columns(campaign_files, codec.FILE)).where(
            campaign_files.c.campaign_id == campaign_id
        )
        if version is not None:
            query = query.where(campaign_files.c.version == version)
        row = await self._first(query.order_by(campaign_files.c.version.desc()).limit(1))
        return None if row is None else CampaignFile(*row)

    async def reference(
        self,
        campaign: str,
        step: str | None = None,
        group: str | None = None,
        job: str | None = None,
    ) -> Reference | None:
        """The ids of `campaigns/{campaign}[/steps/{step}[/groups/{group}[/jobs/{job}]]]`, or None if
        any part of the name does not exist. A name below a None is not looked at."""
        wanted: list[ColumnElement[Any]] = [campaigns.c.id]
        source: Any = campaigns
        where = [campaigns.c.name == campaign]
        for table, parent, above, name in (
            (steps, steps.c.campaign_id, campaigns, step),
            (groups, groups.c.step_id, steps, group),
            (jobs, jobs.c.group_id, groups, job),
        ):
            if name is None:
                break
            wanted.append(table.c.id)
            source = source.join(table, parent == above.c.id)
            where.append(table.c.name == name)
        query: Any = select(*wanted).select_from(source).where(*where)
        row = await self._first(query)
        return None if row is None else Reference(*row)

    # -- groups and jobs --

    async def get_group(self, campaign: str, step: str, group: str) -> GroupRow | None:
        """One group by its names."""
        ids = await self.reference(campaign, step, group)
        if ids is None:
            return None
        row = await self._first(_GROUP.where(groups.c.id == ids.group_id))
        return None if row is None else GroupRow(campaign, row[-1], codec.group_of(row[:-1]))

    async def list_groups(
        self,
        campaign: str,
        step: str | None = None,
        states: Collection[GroupState] = (),
        facility: str | None = None,
        prefix: str = "",
        limit: int = 1000,
        after_id: int = 0,
    ) -> list[GroupRow]:
        """A page of a campaign's groups: of one step, in these states, at this facility, with names
        that begin with `prefix` (nothing given: all)."""
        ids = await self.reference(campaign, step)
        if ids is None:
            return []
        conditions = _below(groups, ids, bool(states))
        if facility is not None:
            conditions.append(groups.c.facility == facility)
        if prefix:
            conditions.append(func.substr(groups.c.name, 1, len(prefix)) == prefix)
        rows = await self._all(_listing(_GROUP, groups, conditions, states, after_id, limit))
        return [GroupRow(campaign, row[-1], codec.group_of(row[:-1])) for row in rows]

    async def group_names(self, step_id: int) -> set[str]:
        """The names of all groups the step ever had."""
        rows = await self._all(select(groups.c.name).where(groups.c.step_id == step_id))
        return {name for (name,) in rows}

    async def get_job(self, campaign: str, step: str, group: str, job: str) -> JobRow | None:
        """One job by its names."""
        ids = await self.reference(campaign, step, group, job)
        if ids is None:
            return None
        row = await self._first(_JOB.where(jobs.c.id == ids.job_id))
        return None if row is None else _job_row(campaign, row)

    async def list_jobs(
        self,
        campaign: str,
        step: str | None = None,
        group: str | None = None,
        states: Collection[JobState] = (),
        facility: str | None = None,
        kind: JobKind | None = None,
        limit: int = 1000,
        after_id: int = 0,
    ) -> list[JobRow]:
        """A page of a campaign's jobs: of one step or one group of it, in these states, at this
        facility, of this kind (nothing given: all). A group is named with its step."""
        ids = await self.reference(campaign, step, group)
        if ids is None:
            return []
        conditions = _below(jobs, ids, bool(states))
        if facility is not None:
            conditions.append(jobs.c.facility == facility)
        if kind is not None:
            conditions.append(jobs.c.kind == str(kind))
        rows = await self._all(_listing(_JOB, jobs, conditions, states, after_id, limit))
        return [_job_row(campaign, row) for row in rows]

    # -- what is written beside them --

    async def attempts(self, job_id: int) -> list[AttemptRow]:
        """The finished attempts of a job, oldest first."""
        query = select(*columns(attempts, codec.ATTEMPT)).where(attempts.c.job_id == job_id)
        return [AttemptRow(*row) for row in await self._all(query.order_by(attempts.c.number))]

    async def attempts_of(self, job_ids: Collection[int]) -> list[AttemptRow]:
        """The finished attempts of these jobs, job by job, oldest first."""
        wanted = list(job_ids)
        rows: list[Any] = []
        for at in range(0, len(wanted), MOST_IDS):
            query = select(*columns(attempts, codec.ATTEMPT)).where(
                attempts.c.job_id.in_(wanted[at : at + MOST_IDS])
            )
            rows += await self._all(query.order_by(attempts.c.job_id, attempts.c.number))
        return [AttemptRow(*row) for row in rows]

    async def attempts_of_group(self, group_id: int) -> list[AttemptRow]:
        """The finished attempts of all jobs of a group: in the order of its jobs, then oldest first."""
        query = (
            select(*columns(attempts, codec.ATTEMPT))
            .join(jobs, jobs.c.id == attempts.c.job_id)
            .where(jobs.c.group_id == group_id)
            .order_by(jobs.c.position, jobs.c.id, attempts.c.number)
        )
        return [AttemptRow(*row) for row in await self._all(query)]

    async def placements(self, group_id: int) -> list[PlacementRow]:
        """The placement decisions of a group, oldest first; the last one counts."""
        query = select(*columns(placements, codec.PLACEMENT)).where(
            placements.c.group_id == group_id
        )
        return [PlacementRow(*row) for row in await self._all(query.order_by(placements.c.id))]

    async def events(
        self,
        after_seq: int = 0,
        limit: int = 1000,
        campaign_id: int | None = None,
        step_id: int | None = None,
        group_id: int | None = None,
        job_id: int | None = None,
        kinds: Collection[str] = (),
        backwards: bool = False,
    ) -> list[Record]:
        """A page of the history, in the order it was committed: events with seq > `after_seq`.

        `backwards` gives the newest first: those with seq < `after_seq`, or from the end if
        `after_seq` is 0. An event belongs to its entity and to all above it. `kinds` are entity
        kinds (campaign, step, group, job, facility).
        """
        if job_id is not None and group_id is None:
            row = await self._first(select(jobs.c.group_id).where(jobs.c.id == job_id))
            if row is None:
                return []
            group_id = row[0]
        if step_id is not None and campaign_id is None and group_id is None:
            row = await self._first(select(steps.c.campaign_id).where(steps.c.id == step_id))
            if row is None:
                return []
            campaign_id = row[0]
        query = _EVENT
        if group_id is not None:
            query = query.where(events.c.group_id == group_id)
        for column, wanted in (
            (events.c.campaign_id, campaign_id),
            (events.c.step_id, step_id),
            (events.c.job_id, job_id),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        if kinds:
            query = query.where(events.c.kind.in_(sorted(kinds)))
            if not {"group", "job"} & set(kinds):
                query = query.where(events.c.group_id.is_(None))
        if not backwards:
            query = _page(query, events.c.seq, after_seq, limit)
        else:
            if not 0 < limit <= MAX_PAGE:
                raise ValueError(f"a page holds 1 to {MAX_PAGE} rows, not {limit}")
            if after_seq:
                query = query.where(events.c.seq < after_seq)
            query = query.order_by(events.c.seq.desc()).limit(limit)
        return [Record(*row) for row in await self._all(query)]

    async def last_seq(self) -> int:
        """The seq of the newest committed event; 0 if there is none."""
        row = await self._first(select(func.coalesce(func.max(events.c.seq), 0)))
        return int(row[0]) if row is not None else 0

    async def find_request(self, request_id: str) -> RequestRow | None:
        """The answer that was given to a request, if it is still kept."""
        query = select(*columns(requests, codec.REQUEST)).where(requests.c.request_id == request_id)
        row = await self._first(query)
        return None if row is None else RequestRow(*row)

    async def facility_load(self, facility: str) -> list[FacilityLoad]:
        """The groups at a facility, counted by step and state; of campaigns that are not archived."""
        query = (
            select(campaigns.c.name, steps.c.name, groups.c.state, func.count())
            .select_from(groups)
            .join(steps, steps.c.id == groups.c.step_id)
            .join(campaigns, campaigns.c.id == groups.c.campaign_id)
            .where(
                groups.c.facility == facility,
                campaigns.c.state != str(CampaignState.ARCHIVED),
            )
            .group_by(campaigns.c.id, campaigns.c.name, steps.c.id, steps.c.name, groups.c.state)
            .order_by(campaigns.c.id, steps.c.id)
        )
        found: dict[tuple[str, str], FacilityLoad] = {}
        for campaign, step, state, count in await self._all(query):
            load = found.setdefault((campaign, step), FacilityLoad(campaign, step, {}))
            load.counts[GroupState(state)] = count
        return list(found.values())

    async def facility_states(self) -> list[FacilityState]:
        """What persons decided about facilities, by name."""
        query = select(*columns(facilities, codec.FACILITY)).order_by(facilities.c.name)
        return [codec.facility_of(row) for row in await self._all(query)]

    async def recount(self, campaign_id: int) -> Recount:
        """Count groups and jobs of a campaign row by row: the truth that the counters must equal.
        Slow in large campaigns; for tests and repairs."""
        counted: list[dict[int, dict[str, int]]] = []
        for table in (groups, jobs):
            query = (
                select(table.c.step_id, table.c.state, func.count())
                .where(table.c.campaign_id == campaign_id)
                .group_by(table.c.step_id, table.c.state)
            )
            numbers: dict[int, dict[str, int]] = {}
            for step_id, state, number in await self._all(query):
                numbers.setdefault(step_id, {})[state] = number
            counted.append(numbers)
        return Recount(groups=counted[0], jobs=counted[1])


def _below(table: Table, ids: Reference, by_state: bool) -> list[ColumnElement[bool]]:
    """Rows below the nearest entity a reference names. `by_state` names the campaign too, because
    the index by state begins with it."""
    if ids.group_id is not None:
        return [table.c.group_id == ids.group_id]
    if ids.step_id is None:
        return [table.c.campaign_id == ids.campaign_id]
    above = [table.c.campaign_id == ids.campaign_id] if by_state else []
    return [*above, table.c.step_id == ids.step_id]


def _job_row(campaign: str, row: Sequence[Any]) -> JobRow:
    return JobRow(campaign, row[-2], row[-1], codec.job_of(row[:-2]))
