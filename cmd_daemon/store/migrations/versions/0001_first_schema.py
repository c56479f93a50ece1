"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("desired", sa.Text(), nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("file_version", BIG, nullable=False),
        sa.Column("step_counts", sa.Text(), nullable=False),
        sa.Column("in_flight", BIG, nullable=False),
        sa.Column("open_steps", BIG, nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("started_at", BIG, nullable=True),
        sa.Column("finished_at", BIG, nullable=True),
        sa.CheckConstraint(
            "desired IN ('RUN', 'PAUSE', 'CANCEL')", name=op.f("ck_campaigns_desired")
        ),
        sa.CheckConstraint(
            "state IN ('DRAFT', 'RUNNING', 'PAUSED', "
            "'ACCEPTED', 'FAILED', 'CANCELLED', 'ARCHIVED')",
            name=op.f("ck_campaigns_state"),
        ),
        sa.CheckConstraint(
            "in_flight >= 0 AND open_steps >= 0", name=op.f("ck_campaigns_not_negative")
        ),
        sa.CheckConstraint("version >= 1", name=op.f("ck_campaigns_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
        sa.UniqueConstraint("name", name=op.f("uq_campaigns_name")),
    )
    op.create_table(
        "effects",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("attempt", BIG, nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("driver", sa.Text(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_effects")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "events",
        sa.Column("seq", BIG, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("campaign_id", BIG, nullable=True),
        sa.Column("step_id", BIG, nullable=True),
        sa.Column("group_id", BIG, nullable=True),
        sa.Column("job_id", BIG, nullable=True),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("attempt", BIG, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(
            "ix_events_above_groups",
            ["campaign_id", "seq"],
            unique=False,
            sqlite_where=sa.text("group_id IS NULL"),
            postgresql_where=sa.text("group_id IS NULL"),
        )
        batch_op.create_index("ix_events_campaign", ["campaign_id", "seq"], unique=False)
        batch_op.create_index(
            "ix_events_group",
            ["group_id", "seq"],
            unique=False,
            sqlite_where=sa.text("group_id IS NOT NULL"),
            postgresql_where=sa.text("group_id IS NOT NULL"),
        )

    op.create_table(
        "facilities",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("drained", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("limits", sa.Text(), nullable=True),
        sa.Column("killed", sa.SmallInteger(), nullable=False),
        sa.Column("reviving", sa.SmallInteger(), nullable=False),
        sa.CheckConstraint("drained IN (0, 1)", name=op.f("ck_facilities_drained")),
        sa.CheckConstraint("killed IN (0, 1)", name=op.f("ck_facilities_killed")),
        sa.CheckConstraint("reviving IN (0, 1)", name=op.f("ck_facilities_reviving")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_facilities")),
    )
    op.create_table(
        "meta",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("schema_version", BIG, nullable=False),
        sa.Column("oldest_code", BIG, nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_meta_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_meta")),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_requests")),
    )
    op.create_table(
        "campaign_files",
        sa.Column("campaign_id", BIG, nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=False),
        sa.Column("changes", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_campaign_files_campaign_id_campaigns")
        ),
        sa.PrimaryKeyConstraint("campaign_id", "version", name=op.f("pk_campaign_files")),
    )
    op.create_table(
        "steps",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("campaign_id", BIG, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", BIG, nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("unmet", BIG, nullable=False),
        sa.Column("split_done", sa.SmallInteger(), nullable=False),
        sa.Column("open_groups", BIG, nullable=False),
        sa.Column("group_counts", sa.Text(), nullable=False),
        sa.Column("job_counts", sa.Text(), nullable=False),
        sa.Column("quanta_expected", BIG, nullable=False),
        sa.Column("quanta_succeeded", BIG, nullable=False),
        sa.Column("quanta_lost", BIG, nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("due_at", BIG, nullable=True),
        sa.Column("tries", BIG, nullable=False),
        sa.Column("signed_by", sa.Text(), nullable=True),
        sa.Column("started_at", BIG, nullable=True),
        sa.Column("finished_at", BIG, nullable=True),
        sa.CheckConstraint(
            "state IN ('WAITING', 'PREPARING', 'RUNNING', 'REVIEW', "
            "'HELD', 'ACCEPTED', 'FAILED', 'CANCELLED')",
            name=op.f("ck_steps_state"),
        ),
        sa.CheckConstraint("split_done IN (0, 1)", name=op.f("ck_steps_split_done")),
        sa.CheckConstraint("unmet >= 0 AND open_groups >= 0", name=op.f("ck_steps_not_negative")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_steps_version")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_steps_campaign_id_campaigns")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steps")),
        sa.UniqueConstraint("campaign_id", "name", name=op.f("uq_steps_campaign_id_name")),
    )
    op.create_table(
        "groups",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("campaign_id", BIG, nullable=False),
        sa.Column("step_id", BIG, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("share", sa.Text(), nullable=False),
        sa.Column("jobs", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("facility", sa.Text(), nullable=True),
        sa.Column("pinned", sa.Text(), nullable=True),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("cursor", BIG, nullable=False),
        sa.Column("held", sa.SmallInteger(), nullable=False),
        sa.Column("stopped", sa.SmallInteger(), nullable=False),
        sa.Column("accept_losses", sa.SmallInteger(), nullable=False),
        sa.Column("quanta_expected", BIG, nullable=False),
        sa.Column("quanta_succeeded", BIG, nullable=False),
        sa.Column("quanta_lost", BIG, nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("due_at", BIG, nullable=True),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("started_at", BIG, nullable=True),
        sa.Column("finished_at", BIG, nullable=True),
        sa.CheckConstraint(
            "state IN ('WAITING', 'READY', 'PLACED', 'RUNNING', 'REVIEW', "
            "'HELD', 'ACCEPTED', 'FAILED', 'REJECTED', 'CANCELLED')",
            name=op.f("ck_groups_state"),
        ),
        sa.CheckConstraint("accept_losses IN (0, 1)", name=op.f("ck_groups_accept_losses")),
        sa.CheckConstraint("held IN (0, 1)", name=op.f("ck_groups_held")),
        sa.CheckConstraint("stopped IN (0, 1)", name=op.f("ck_groups_stopped")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_groups_version")),
        sa.ForeignKeyConstraint(["step_id"], ["steps.id"], name=op.f("fk_groups_step_id_steps")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.UniqueConstraint("step_id", "name", name=op.f("uq_groups_step_id_name")),
    )
    with op.batch_alter_table("groups", schema=None) as batch_op:
        batch_op.create_index("ix_groups_campaign", ["campaign_id", "id"], unique=False)
        batch_op.create_index("ix_groups_step", ["step_id", "id"], unique=False)
        batch_op.create_index(
            "ix_groups_unfinished",
            ["campaign_id", "state", "id"],
            unique=False,
            sqlite_where=sa.text("state <> 'ACCEPTED'"),
            postgresql_where=sa.text("state <> 'ACCEPTED'"),
        )

    op.create_table(
        "jobs",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("campaign_id", BIG, nullable=False),
        sa.Column("step_id", BIG, nullable=False),
        sa.Column("group_id", BIG, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("position", BIG, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("driver", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("attempt", BIG, nullable=False),
        sa.Column("budget_from", BIG, nullable=False),
        sa.Column("fresh_from", BIG, nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=True),
        sa.Column("submit_tries", BIG, nullable=False),
        sa.Column("cancelling", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("due_at", BIG, nullable=True),
        sa.Column("progress", sa.Text(), nullable=True),
        sa.Column("started_at", BIG, nullable=True),
        sa.Column("submitted_at", BIG, nullable=True),
        sa.CheckConstraint(
            "kind IN ('process', 'script', 'register', 'transfer', 'ingest', 'collect', 'bundle', 'purge')",
            name=op.f("ck_jobs_kind"),
        ),
        sa.CheckConstraint(
            "state IN ('WAITING', 'READY', 'SUBMITTING', 'RUNNING', "
            "'SUCCEEDED', 'FAILED', 'CANCELLED', 'HELD', 'UNCERTAIN')",
            name=op.f("ck_jobs_state"),
        ),
        sa.CheckConstraint("cancelling IN (0, 1)", name=op.f("ck_jobs_cancelling")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_jobs_version")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_jobs_group_id_groups")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("group_id", "name", name=op.f("uq_jobs_group_id_name")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("ix_jobs_campaign", ["campaign_id", "id"], unique=False)
        batch_op.create_index("ix_jobs_step", ["step_id", "id"], unique=False)
        batch_op.create_index(
            "ix_jobs_unfinished",
            ["campaign_id", "state", "id"],
            unique=False,
            sqlite_where=sa.text("state <> 'SUCCEEDED'"),
            postgresql_where=sa.text("state <> 'SUCCEEDED'"),
        )

    op.create_table(
        "placements",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("group_id", BIG, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("facility", sa.Text(), nullable=True),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("factors", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("fk_placements_group_id_groups")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_placements")),
    )
    with op.batch_alter_table("placements", schema=None) as batch_op:
        batch_op.create_index("ix_placements_group", ["group_id", "id"], unique=False)

    op.create_table(
        "attempts",
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("number", BIG, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("driver", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=True),
        sa.Column("submitted_at", BIG, nullable=True),
        sa.Column("started_at", BIG, nullable=True),
        sa.Column("finished_at", BIG, nullable=False),
        sa.Column("exit_code", BIG, nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("expected", BIG, nullable=False),
        sa.Column("successful", BIG, nullable=False),
        sa.Column("output_run", sa.Text(), nullable=True),
        sa.Column("memory", BIG, nullable=False),
        sa.Column("quanta", sa.Text(), nullable=True),
        sa.Column("failures", sa.Text(), nullable=True),
        sa.Column("extra", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_attempts")),
    )
    op.execute("INSERT INTO meta (id, schema_version, oldest_code, epoch) VALUES (1, 1, 1, 0)")
