"""What the tests of several rooms share lies beside this file: `history`, `daemon_process`,
`certificates`, `hooked`, `named`, `services`.

With `--database postgresql` the tests that take `database_url` run on PostgreSQL instead of SQLite.
With `-n 3` (pytest-xdist) three processes run them; a room goes to one of them as a whole, because its tests
share the repositories and servers that were made for it.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from services.databases import Server
from xdist.scheduler import LoadScopeScheduling

DATABASES = ("sqlite", "postgresql")
SLOWEST = (
    "engine",
    "housekeeping",
    "rubin",
    "panda_plugin",
    "panda_bps",
    "panda_server",
    "far",
    "demo",
    "identity",
    "facility",
)
"""Rooms that are begun first, so that no process is left alone with one at the end."""


def room_of(path: str) -> str:
    """The folder below `tests` of a path or node id relative to the project's folder."""
    return path.split("/")[1]


class Rooms(LoadScopeScheduling):
    """Hands out whole rooms."""

    def _split_scope(self, nodeid: str) -> str:
        return room_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Rooms | None:
    """See `Rooms`."""
    return Rooms(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_addoption(parser: pytest.Parser) -> None:
    """The database of the tests that can do with any."""
    parser.addoption("--database", choices=DATABASES, default="sqlite", help="for `database_url`")


def pytest_configure(config: pytest.Config) -> None:
    """The mark of tests that make sense on one kind of database only."""
    config.addinivalue_line("markers", "only(database): the one database this test is about")
    if wanted := os.environ.get("CMD_FUZZ"):
        settings.register_profile("fuzz", max_examples=10 * int(wanted))
        settings.load_profile("fuzz")
    # A shell lets what it runs in the background ignore Ctrl-C, which tests send to what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other database, and put the slowest rooms first."""
    chosen = config.getoption("--database")
    marks = {item: item.get_closest_marker("only") for item in items}
    others = [item for item, mark in marks.items() if mark and mark.args[0] != chosen]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]
    if config.getoption("dist", "no") != "no":
        place = {room: number for number, room in enumerate(SLOWEST)}
        items.sort(key=lambda item: place.get(room_of(item.nodeid), len(place)))


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


@pytest.fixture(scope="session")
def fuzz_examples() -> int:
    """How many inputs a fuzz test tries: few, unless CMD_FUZZ asks for more (`make fuzz`)."""
    return int(os.environ.get("CMD_FUZZ", "10"))
