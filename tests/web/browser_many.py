"""Ten thousand groups: pages stay small and quick, the server's memory bounded, the daemon little asked."""

import time
from collections.abc import Iterator

import psutil
import pytest
from browser import Browser
from web_house import BROKEN, RUNS, WebHouse, keyed

from cmd_daemon.testing.world import Behaviour

GROUPS = 10_000
READY_S = 2.0
TRIES = 5
NODES = 6000
BYTES = 1_500_000
MEMORY = 250 * 2**20


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebHouse]:
    """A campaign of 10,000 groups: 200 are done, 20 held, others run, the rest waits for slots."""
    house = WebHouse(tmp_path_factory.mktemp("crowd"))
    try:
        house.behave("", RUNS)
        for number in range(1, 221):
            group = f"{number:05}"
            behaviour = BROKEN if number % 11 == 0 else Behaviour()
            house.behave(keyed("crowd", "isr", group), behaviour)
            house.behave(keyed("crowd", "isr", group, "collect"), Behaviour())
        house.apply("crowd", GROUPS)
        end = time.monotonic() + 100
        while not (counts := dict(house.campaign("campaigns/crowd").group_counts)).get("RUNNING"):
            assert time.monotonic() < end, counts
            time.sleep(0.1)
        while (
            sum(counts.get(word, 0) for word in ("PLACED", "RUNNING", "ACCEPTED", "HELD")) < GROUPS
        ):
            assert time.monotonic() < end, counts
            counts = dict(house.campaign("campaigns/crowd").group_counts)
            time.sleep(0.1)
        yield house
    finally:
        house.close()


@pytest.fixture
def there(page: Browser, crowd: WebHouse) -> Iterator[Browser]:
    """The browser, at the dashboard of the crowd."""
    home = page.root
    page.driver.get(crowd.url)
    page.root = crowd.url.partition("/?")[0]
    yield page
    page.root = home
    page.open("/")


READY = """
const done = arguments[arguments.length - 1];
const at = performance.getEntriesByType('navigation')[0];
const look = () => at.loadEventEnd ? done([at.loadEventEnd / 1000, at.decodedBodySize]) : setTimeout(look, 5);
look();
"""


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/", "#campaigns [data-row]"),
        ("/campaigns/crowd", ".heat .cell"),
        ("/campaigns/crowd/steps/isr", "#groups [data-row]"),
        ("/campaigns/crowd/steps/isr?state=HELD", "#groups [data-row]"),
        ("/campaigns/crowd/steps/isr/groups/05000", "#placement .factors"),
        ("/facilities", "#shares .bullet"),
    ],
)
def test_a_page_is_ready_in_time_and_small(
    there: Browser, crowd: WebHouse, path: str, what: str
) -> None:
    """The best of a few: the machine may be busy, the page itself must not be."""
    best, size = 99.0, 0
    for _ in range(TRIES):
        there.open(path)
        seconds, size = there.driver.execute_async_script(READY)
        best = min(best, seconds)
        if best < READY_S:
            break
    there.until(lambda: there.all(what), what)
    nodes = there.script("return document.querySelectorAll('*').length")
    memory = psutil.Process(crowd.server.process.pid).memory_info().rss
    print(
        f"{path}: ready in {best:.2f} s, {size / 1e3:.0f} kB, {nodes} nodes, {memory / 2**20:.0f} MiB"
    )
    assert best < READY_S
    assert size < BYTES
    assert nodes < NODES
    assert memory < MEMORY


def test_the_pages_of_a_list_are_turned(there: Browser) -> None:
    there.open("/campaigns/crowd/steps/isr")
    there.click("#groups [rel=next]")
    there.shows("00101", "#groups")
    assert len(there.all("#groups [data-row]")) == 100
    assert "00100" not in there.text("#groups tbody")


def test_one_held_group_among_thousands_is_seen(there: Browser) -> None:
    there.open("/campaigns/crowd")
    there.until(lambda: there.all(".heat .cell.f-person"), "the held ones")
    wide = there.script("return document.querySelector('#head .bar .f-person').getBBox().width")
    assert wide >= 2


def test_while_much_happens_memory_is_bounded(there: Browser, crowd: WebHouse) -> None:
    """Thousands of events, while a page is open: one change of it at a time is pending."""
    there.open("/campaigns/crowd")
    there.until(lambda: there.text("#live") == "live", "the watch")
    before = crowd.campaign("campaigns/crowd").group_counts.get("ACCEPTED", 0)
    for facility in ("USDF", "FrDF", "UKDF"):
        crowd.daemon.world(facility).behaviours[""] = Behaviour(quanta={"isr": (10, 10)})
    for key in [k for f in ("USDF", "FrDF", "UKDF") for k in crowd.daemon.world(f).attempts]:
        crowd.end(key)
    end = time.monotonic() + 100
    while crowd.campaign("campaigns/crowd").group_counts.get("ACCEPTED", 0) < before + 2000:
        assert time.monotonic() < end
        assert psutil.Process(crowd.server.process.pid).memory_info().rss < MEMORY
        time.sleep(0.2)
    crowd.cm.pause_campaign("campaigns/crowd")
    there.until(lambda: "PAUS" in there.text("#head .head"), "the pause")
    accepted = crowd.campaign("campaigns/crowd").group_counts["ACCEPTED"]
    assert accepted > before
