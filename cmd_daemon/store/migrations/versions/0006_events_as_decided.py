"""The events that decisions were made on, so that they can be decided once more."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "decided",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("first_seq", BIG, nullable=False),
        sa.Column("last_seq", BIG, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decided")),
    )
    op.create_index("ix_decided_last", "decided", ["last_seq"])
    op.execute("UPDATE meta SET schema_version = 6")
