"""Commands to attempts that are outside: which are paused, and what waits to be done."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STANDINGS = "'GOING', 'PAUSING', 'PAUSED', 'RESUMING'"


def upgrade() -> None:
    big = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    # Added in place, not by a copy of the table: SQLite takes that for a column with a default.
    _add("campaigns", f"paused {big} DEFAULT 0 NOT NULL", "paused >= 0 AND paused <= in_flight")
    _add("jobs", "standing TEXT DEFAULT 'GOING' NOT NULL", f"standing IN ({STANDINGS})")
    _add("jobs", "pause_wanted SMALLINT DEFAULT 0 NOT NULL", "pause_wanted IN (0, 1)")
    _add("jobs", "commands TEXT")
    _add("effects", f"number {big} DEFAULT 0 NOT NULL")
    # Code that does not know the new columns would not keep them right.
    op.execute("UPDATE meta SET schema_version = 2, oldest_code = 2")


def _add(table: str, column: str, check: str = "") -> None:
    name = f"ck_{table}_{column.split()[0]}"
    condition = f" CONSTRAINT {name} CHECK ({check})" if check else ""
    op.execute(f"ALTER TABLE {table} ADD COLUMN {column}{condition}")
