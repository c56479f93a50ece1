"""The schema's history: one Alembic chain for all dialects, run by the daemon itself."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event


def configuration() -> Config:
    """Alembic's configuration of the scripts shipped with the daemon."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def upgrade_within(connection: Connection, revision: str = "head") -> None:
    """Bring the database of a connection to a revision, in the transaction it is in."""
    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the SQLite database of a synchronous SQLAlchemy URL to a revision, in one transaction."""
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def no_own_transactions(connection: object, record: object) -> None:
        # sqlite3 would commit before DDL; with this, a killed migration leaves nothing behind.
        connection.isolation_level = None  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as connection:
            upgrade_within(connection, revision)
    finally:
        engine.dispose()
