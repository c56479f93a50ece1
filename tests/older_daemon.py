"""A daemon as it was at an older schema: this code, with the number of that schema, with the migrations up
to it, and without the tables that came later. Run as a program: `older_daemon.py SCHEMA ARGUMENTS...`."""

import functools
import sys

from cmd_daemon.__main__ import main
from cmd_daemon.store import looking, migrations, sqlite, tables, writing
from cmd_daemon.store.postgres import schema
from cmd_daemon.store.writing import Change

LATER = {"audit": 5, "decided": 6}
"""Tables, with the schema that they came with."""


def become(number: int) -> None:
    """Be of that schema."""
    for module in (tables, looking, sqlite, schema):
        module.SCHEMA_VERSION = number  # type: ignore[attr-defined]
    within = migrations.upgrade_within
    revision = f"{number:04d}"
    migrations.upgrade_within = lambda connection, _="": within(connection, revision)
    migrations.upgrade = functools.partial(migrations.upgrade, revision=revision)
    plan = writing.plan

    def without(batch: object) -> list[Change]:
        return [c for c in plan(batch) if LATER.get(c.table, 0) <= number]  # type: ignore[arg-type]

    for name in ("cmd_daemon.store.sqlite", "cmd_daemon.store.postgres.dialect"):
        __import__(name)
        sys.modules[name].plan = without  # type: ignore[attr-defined]


if __name__ == "__main__":
    become(int(sys.argv.pop(1)))
    main()
