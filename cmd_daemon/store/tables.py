"""The schema: SQLAlchemy Core tables, for SQLite and PostgreSQL alike.

Times are microseconds since the epoch, UTC, as 64-bit integers. Ids are 64-bit integers made by the
engine. JSON columns are texts: nobody but `nexus.py` queries inside them. Indexes that only the
happy end leaves (`*_unfinished`) hold what a person or a restarted daemon looks for, and stay small.

Foreign keys lead to the direct parent only; the other ids above are copies for reading, and a key
on each would cost a look-up for every row written.
"""

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.sql.elements import ColumnElement, TextClause

from cmd_daemon.kernel.states import (
    CampaignState,
    Desired,
    GroupState,
    JobKind,
    JobState,
    RunOutcome,
    ScheduleState,
    Standing,
    StepState,
)

SCHEMA_VERSION = 6
"""The schema this code writes. A migration that changes the schema counts it up."""

OLDEST_CODE = 2
"""The lowest `SCHEMA_VERSION` of code that may still work on a database of this schema."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite makes a column the table's own key only if its type is spelt INTEGER; it holds 64 bits there.
_BIG = BigInteger().with_variant(Integer(), "sqlite")

UNFINISHED_GROUP = "state <> 'ACCEPTED'"
UNFINISHED_JOB = "state <> 'SUCCEEDED'"
ABOVE_GROUPS = "group_id IS NULL"


def _id() -> Column[int]:
    return Column("id", _BIG, primary_key=True, autoincrement=False)


def _big(name: str, null: bool = False, default: str | None = None) -> Column[int]:
    return Column(name, _BIG, nullable=null, server_default=_default(default))


def _text(name: str, null: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=null, server_default=_default(default))


def _default(sql: str | None) -> TextClause | None:
    """What rows have that were written before the column came (a later migration adds it)."""
    return None if sql is None else text(sql)


def _one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    allowed = ", ".join(f"'{word.value}'" for word in words)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


def _flag(name: str, default: str | None = None) -> tuple[Column[int], CheckConstraint]:
    return (
        Column(name, SmallInteger, nullable=False, server_default=_default(default)),
        CheckConstraint(f"{name} IN (0, 1)", name=name),
    )


def _not_negative(columns: Iterable[str]) -> CheckConstraint:
    return CheckConstraint(" AND ".join(f"{c} >= 0" for c in columns), name="not_negative")


def _index(
    name: str, *columns: Column[int] | Column[str], where: str, unique: bool = False
) -> Index:
    condition = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


campaigns = Table(
    "campaigns",
    metadata,
    _id(),
    _text("name"),
    _text("owner"),
    _big("created_at"),
    _text("state"),
    _text("desired"),
    _big("version"),
    _big("file_version"),
    _text("step_counts"),
    _big("in_flight"),
    _big("open_steps"),
    _text("reason", null=True),
    _big("started_at", null=True),
    _big("finished_at", null=True),
    _big("paused", default="0"),
    UniqueConstraint("name"),
    _one_of("state", CampaignState),
    _one_of("desired", Desired),
    _not_negative(["in_flight", "open_steps"]),
    CheckConstraint("paused >= 0 AND paused <= in_flight", name="paused"),
    CheckConstraint("version >= 1", name="version"),
)

campaign_files = Table(
    "campaign_files",
    metadata,
    Column("campaign_id", _BIG, ForeignKey("campaigns.id"), nullable=False),
    _big("version"),
    _big("at"),
    _text("actor"),
    _text("text"),
    _text("parameters"),
    _text("digest"),
    _text("ticket"),
    _text("changes", null=True),
    PrimaryKeyConstraint("campaign_id", "version"),
)

steps = Table(
    "steps",
    metadata,
    _id(),
    Column("campaign_id", _BIG, ForeignKey("campaigns.id"), nullable=False),
    _text("name"),
    _big("position"),
    _text("policy"),
    _text("state"),
    _big("version"),
    _big("unmet"),
    *_flag("split_done"),
    _big("open_groups"),
    _text("group_counts"),
    _text("job_counts"),
    _big("quanta_expected"),
    _big("quanta_succeeded"),
    _big("quanta_lost"),
    _text("reason", null=True),
    _big("due_at", null=True),
    _big("tries"),
    _text("signed_by", null=True),
    _big("started_at", null=True),
    _big("finished_at", null=True),
    UniqueConstraint("campaign_id", "name"),
    _one_of("state", StepState),
    _not_negative(["unmet", "open_groups"]),
    CheckConstraint("version >= 1", name="version"),
)

groups = Table(
    "groups",
    metadata,
    _id(),
    _big("campaign_id"),
    Column("step_id", _BIG, ForeignKey("steps.id"), nullable=False),
    _text("name"),
    _text("share"),
    _text("jobs"),
    _text("state"),
    _big("version"),
    _text("facility", null=True),
    _text("pinned", null=True),
    _text("region", null=True),
    _big("cursor"),
    *_flag("held"),
    *_flag("stopped"),
    *_flag("accept_losses"),
    _big("quanta_expected"),
    _big("quanta_succeeded"),
    _big("quanta_lost"),
    _text("reason", null=True),
    _big("due_at", null=True),
    _big("created_at"),
    _big("started_at", null=True),
    _big("finished_at", null=True),
    UniqueConstraint("step_id", "name"),
    _one_of("state", GroupState),
    CheckConstraint("version >= 1", name="version"),
)
Index("ix_groups_campaign", groups.c.campaign_id, groups.c.id)
Index("ix_groups_step", groups.c.step_id, groups.c.id)
_index(
    "ix_groups_unfinished",
    groups.c.campaign_id,
    groups.c.state,
    groups.c.id,
    where=UNFINISHED_GROUP,
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    _big("campaign_id"),
    _big("step_id"),
    Column("group_id", _BIG, ForeignKey("groups.id"), nullable=False),
    _text("name"),
    _text("kind"),
    _big("position"),
    _text("state"),
    _big("version"),
    _text("driver"),
    _text("facility"),
    _big("attempt"),
    _big("budget_from"),
    _big("fresh_from"),
    _text("mode"),
    _text("ref", null=True),
    _big("submit_tries"),
    *_flag("cancelling"),
    _text("reason", null=True),
    _big("due_at", null=True),
    _text("progress", null=True),
    _big("started_at", null=True),
    _big("submitted_at", null=True),
    _text("standing", default="'GOING'"),
    *_flag("pause_wanted", default="0"),
    _text("commands", null=True),
    UniqueConstraint("group_id", "name"),
    _one_of("state", JobState),
    _one_of("kind", JobKind),
    _one_of("standing", Standing),
    CheckConstraint("version >= 1", name="version"),
)
Index("ix_jobs_campaign", jobs.c.campaign_id, jobs.c.id)
Index("ix_jobs_step", jobs.c.step_id, jobs.c.id)
_index("ix_jobs_unfinished", jobs.c.campaign_id, jobs.c.state, jobs.c.id, where=UNFINISHED_JOB)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", _BIG, ForeignKey("jobs.id"), nullable=False),
    _big("number"),
    _text("state"),
    _text("mode"),
    _text("facility"),
    _text("driver"),
    _text("ref", null=True),
    _big("submitted_at", null=True),
    _big("started_at", null=True),
    _big("finished_at"),
    _big("exit_code", null=True),
    _text("error_class", null=True),
    _text("message"),
    _big("expected"),
    _big("successful"),
    _text("output_run", null=True),
    _big("memory"),
    _text("quanta", null=True),
    _text("failures", null=True),
    _text("extra", null=True),
    PrimaryKeyConstraint("job_id", "number"),
)

placements = Table(
    "placements",
    metadata,
    Column("id", _BIG, primary_key=True, autoincrement=True),  # the order of the decisions
    Column("group_id", _BIG, ForeignKey("groups.id"), nullable=False),
    _big("at"),
    _text("facility", null=True),
    _text("algorithm"),
    _text("actor"),
    _text("reason"),
    _text("factors", null=True),
)
Index("ix_placements_group", placements.c.group_id, placements.c.id)

events = Table(
    "events",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=False),
    _text("kind"),
    _text("name"),
    _big("campaign_id", null=True),
    _big("step_id", null=True),
    _big("group_id", null=True),
    _big("job_id", null=True),
    _text("from_state"),
    _text("to_state"),
    _text("cause"),
    _text("actor"),
    _big("at"),
    _text("reason"),
    _text("facility"),
    _big("attempt"),
    _text("request_id"),
    _text("detail", null=True),
)
Index("ix_events_campaign", events.c.campaign_id, events.c.seq)
_index("ix_events_group", events.c.group_id, events.c.seq, where="group_id IS NOT NULL")
_index("ix_events_above_groups", events.c.campaign_id, events.c.seq, where=ABOVE_GROUPS)

decided = Table(
    "decided",
    metadata,
    Column("id", _BIG, primary_key=True, autoincrement=True),  # the order of the commits
    _big("first_seq"),
    _big("last_seq"),
    Column("data", LargeBinary, nullable=False),
)
Index("ix_decided_last", decided.c.last_seq)

effects = Table(
    "effects",
    metadata,
    Column("key", Text, primary_key=True),
    _text("verb"),
    _big("job_id"),
    _big("attempt"),
    _text("facility"),
    _text("driver"),
    _big("at"),
    _big("number", default="0"),
    sqlite_with_rowid=False,
)

facilities = Table(
    "facilities",
    metadata,
    Column("name", Text, primary_key=True),
    *_flag("drained"),
    _text("reason"),
    _text("actor"),
    _big("at"),
    _text("limits", null=True),
    *_flag("killed"),
    *_flag("reviving"),
)

schedules = Table(
    "schedules",
    metadata,
    Column("name", Text, primary_key=True),
    _big("version"),
    _text("owner"),
    _text("cron"),
    _text("zone"),
    _text("overlap"),
    _text("text"),
    _text("template"),
    _text("template_file"),
    _text("state"),
    _text("reason"),
    _text("actor"),
    _big("at"),
    _big("next_at", null=True),
    _big("last_at", null=True),
    _big("queued_at", null=True),
    _text("last_campaigns"),
    _one_of("state", ScheduleState),
)

schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column(
        "id", _BIG, primary_key=True, autoincrement=True
    ),  # the order in which they were handled
    Column("schedule", Text, ForeignKey("schedules.name"), nullable=False),
    _big("due_at"),
    _big("at"),
    _text("outcome"),
    _text("actor"),
    _text("reason"),
    _text("campaigns"),
    _one_of("outcome", RunOutcome),
)
Index("ix_schedule_runs_schedule", schedule_runs.c.schedule, schedule_runs.c.id)
# A second launch of one time would be refused here, whatever had gone wrong above.
_index(
    "uq_schedule_runs_launched",
    schedule_runs.c.schedule,
    schedule_runs.c.due_at,
    where="outcome = 'LAUNCHED'",
    unique=True,
)

requests = Table(
    "requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    _text("method"),
    _text("digest"),
    Column("answer", LargeBinary, nullable=False),
    _big("at"),
)

audit = Table(
    "audit",
    metadata,
    Column(
        "id", _BIG, primary_key=True, autoincrement=True
    ),  # the order in which they were written
    _big("at"),
    _text("who"),
    _text("proof"),
    _text("peer"),
    _text("method"),
    _text("campaign"),
    _text("name"),
    _text("reason"),
    _text("request_id"),
    _text("before"),
    _text("after"),
    _text("detail", null=True),
    _text("result"),
    _text("message"),
)
Index("ix_audit_campaign", audit.c.campaign, audit.c.id)
Index("ix_audit_who", audit.c.who, audit.c.id)

meta = Table(
    "meta",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    _big("schema_version"),
    _big("oldest_code"),
    _big("epoch"),
    Column("commits", _BIG, nullable=False, server_default="0"),
    CheckConstraint("id = 1", name="one_row"),
)


def unfinished(table: Table) -> ColumnElement[bool]:
    """The condition of the table's partial index, as the literal the schema has: databases use such
    an index only if they can see that the query implies it."""
    end = "'ACCEPTED'" if table is groups else "'SUCCEEDED'"
    return table.c.state != literal_column(end)
