"""One daemon, one dashboard and one browser for all tests; each test has campaigns of its own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "clients"))

from browser import DESK, Browser, browser
from daemon_process import DaemonProcess
from web_house import WebHouse


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebHouse]:
    """A daemon with three facilities in a fake world, and its dashboard."""
    made = WebHouse(tmp_path_factory.mktemp("web"))
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def _cleared() -> Iterator[None]:
    """What one module has left behind does not crowd the pages of the next."""
    yield
    for house in WebHouse.living:
        house.clear()


@pytest.fixture(scope="session")
def chromium(house: WebHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser of all tests."""
    with browser(house.url, tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def page(chromium: Browser) -> Iterator[Browser]:
    """The browser at a desk, in light; afterwards it has nothing to complain about."""
    chromium.size(DESK)
    chromium.theme("light")
    chromium.complaints()
    yield chromium
    chromium.open("/")
    assert chromium.complaints() == []
    chromium.expected = ""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon that can be killed; nothing runs yet, and nothing runs afterwards."""
    made = DaemonProcess(tmp_path)
    yield made
    made.end()
