"""A count of commits beside the epoch: after a lost connection it tells whether the last one came through."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("meta", sa.Column("commits", BIG, nullable=False, server_default="0"))
    if op.get_bind().dialect.name == "postgresql":
        # For the nexus log: `extra` of attempts is text that a plugin told, and may be anything.
        op.execute(
            "CREATE FUNCTION cmd_json(told text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE "
            "PARALLEL SAFE AS $$ BEGIN RETURN told::jsonb; "
            "EXCEPTION WHEN data_exception OR program_limit_exceeded OR untranslatable_character "
            "THEN RETURN NULL; END $$"
        )
    op.execute("UPDATE meta SET schema_version = 4")
