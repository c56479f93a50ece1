"""What the tests of several rooms share lies beside this file: `history`, `daemon_process`,
`certificates`, `hooked`, `named`, `services`.

With `--database postgresql` the tests that take `database_url` run on PostgreSQL instead of SQLite.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from services.databases import Server

DATABASES = ("sqlite", "postgresql")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The database of the tests that can do with any."""
    parser.addoption("--database", choices=DATABASES, default="sqlite", help="for `database_url`")


def pytest_configure(config: pytest.Config) -> None:
    """The mark of tests that make sense on one kind of database only."""
    config.addinivalue_line("markers", "only(database): the one database this test is about")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other database."""
    chosen = config.getoption("--database")
    marks = {item: item.get_closest_marker("only") for item in items}
    others = [item for item, mark in marks.items() if mark and mark.args[0] != chosen]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The run's one PostgreSQL server, started when the first test wants it."""
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def own_postgres() -> Iterator[Server]:
    """A server for one test, which may stop it."""
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """A fresh PostgreSQL database with the schema in it."""
    url = postgres_server.fresh()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The database of this test: of the kind that `--database` asks for."""
    if request.config.getoption("--database") == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/cmd.db"
    url: str = request.getfixturevalue("postgres_url")
    return url
