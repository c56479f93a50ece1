"""Schedules and what their times came to."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("overlap", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("template_file", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("next_at", BIG, nullable=True),
        sa.Column("last_at", BIG, nullable=True),
        sa.Column("queued_at", BIG, nullable=True),
        sa.Column("last_campaigns", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('ACTIVE', 'PAUSED', 'REMOVED')", name=op.f("ck_schedules_state")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schedules")),
    )
    op.create_table(
        "schedule_runs",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("due_at", BIG, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("campaigns", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('LAUNCHED', 'SKIPPED', 'QUEUED', 'REFUSED')",
            name=op.f("ck_schedule_runs_outcome"),
        ),
        sa.ForeignKeyConstraint(
            ["schedule"], ["schedules.name"], name=op.f("fk_schedule_runs_schedule_schedules")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule_runs")),
    )
    launched = sa.text("outcome = 'LAUNCHED'")
    op.create_index("ix_schedule_runs_schedule", "schedule_runs", ["schedule", "id"])
    op.create_index(
        "uq_schedule_runs_launched",
        "schedule_runs",
        ["schedule", "due_at"],
        unique=True,
        sqlite_where=launched,
        postgresql_where=launched,
    )
    op.execute("UPDATE meta SET schema_version = 2, oldest_code = 1")
