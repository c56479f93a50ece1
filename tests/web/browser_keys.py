"""Keyboard, search, themes, and a phone."""

from pathlib import Path

import pytest
from browser import DESK, PHONE, Browser
from web_house import BROKEN, RUNS, SHORT, WebHouse

PICTURES = Path(__file__).parents[2] / "build" / "web-pictures"

DIM = (Path(__file__).parent / "contrast.js").read_text()
"""Words of the page whose contrast to what is behind them is less than 4.5."""


@pytest.fixture(scope="module")
def names(house: WebHouse) -> dict[str, str]:
    """Pages by a name for their pictures, of a campaign with some of everything."""
    name = house.apply("keyed", 24, g0002=SHORT, g0003=BROKEN, g0004=BROKEN, g0007=RUNS, g0009=RUNS)
    moved = house.moving("moved")
    house.apply("drafted", start=False)
    monthly = house.schedule("monthly-small")
    house.cm.run_schedule(monthly, reason="try it")
    house.schedule("nightly")
    for group, state in (("0002", "REVIEW"), ("0003", "HELD"), ("0007", "RUNNING")):
        house.reach(f"{name}/steps/isr/groups/{group}", state)
    house.reach(f"{name}/steps/isr/groups/0024", "ACCEPTED")
    return {
        "campaigns": "/",
        "campaign": f"/{name}",
        "step": f"/{name}/steps/isr",
        "group": f"/{name}/steps/isr/groups/0002",
        "group-moved": f"/{moved}/steps/fit/groups/all",
        "job": f"/{name}/steps/isr/groups/0003/jobs/process",
        "nexus": f"/{moved}/nexus",
        "facilities": "/facilities",
        "facility": "/facilities/USDF",
        "schedules": "/schedules",
        "schedule": f"/{monthly}",
        "events": "/events?parent=keyed",
        "search": "/search?q=keyed",
        "confirm": f"/act/move?name={name}/steps/isr/groups/0003",
        "problem": "/campaigns/nobody",
    }


def test_keys_alone_lead_from_the_first_page_to_a_job(page: Browser, names: dict[str, str]) -> None:
    page.open("/events")
    page.press("g", "c")
    page.until(lambda: page.driver.current_url == page.root + "/", "the first page")
    page.shows("keyed", "#campaigns")
    lines = "return [...document.querySelectorAll('[data-row] a.open')].map(a => a.pathname)"
    wanted = page.script(lines).index("/campaigns/keyed")
    for _ in range(wanted + 1):
        page.press("j")
    page.press("j", "k", "enter")
    page.until(lambda: page.driver.current_url.endswith("/campaigns/keyed"), "the campaign")
    page.press("g", "f")
    page.until(lambda: page.driver.current_url.endswith("/facilities"), "the facilities")
    page.press("g", "s")
    page.until(lambda: page.driver.current_url.endswith("/schedules"), "the schedules")
    page.open(names["job"])
    page.press("u")
    page.until(lambda: page.driver.current_url.endswith("/groups/0003"), "one level up")


def test_a_chosen_line_stays_chosen_when_the_page_changes(
    page: Browser, house: WebHouse, names: dict[str, str]
) -> None:
    page.open(names["step"])
    lines = (
        "return [...document.querySelectorAll('[data-row]')].findIndex(e => e.closest('#groups'))"
    )
    for _ in range(page.script(lines) + 2):
        page.press("j")
    page.press("x")
    assert page.find("tr.at input").is_selected()
    chosen = page.find("tr.at a.open").text
    house.end("keyed/isr/0007/process#1")
    page.until(lambda: "RUNNING" not in page.text("#groups tr:nth-child(7)"), "the change")
    assert page.find("tr.at a.open").text == chosen
    assert page.find("tr.at input").is_selected()


def test_help_and_escape(page: Browser) -> None:
    page.open("/")
    page.press("?")
    page.shows("next and former line", "dialog[open]")
    page.press("escape")
    page.until(lambda: not page.all("dialog[open]"), "the end of the help")
    page.press("/")
    page.press("j", "?")
    assert page.find("#search").get_attribute("value") == "j?", "keys are letters in a field"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("KEYED", "keyed"),
        ("coad", "keyed/coadd"),
        ("0003", "keyed/isr/0003"),
        ("keyed/isr/001", "keyed/isr/0012"),
        ("keyed/isr/0003/process", "keyed/isr/0003/process"),
        ("campaigns/keyed/steps/isr", "keyed/isr"),
        ("ukd", "UKDF"),
        ("nightly", "nightly"),
    ],
)
def test_search(page: Browser, names: dict[str, str], words: str, found: str) -> None:
    page.open("/")
    page.press("/")
    page.press(*words, "enter")
    page.until(lambda: "/search" in page.driver.current_url, "the answer")
    links = "return [...document.querySelectorAll('#hits a.open')].map(a => a.textContent)"
    page.until(lambda: found in page.script(links), found)


def test_nothing_found_is_said(page: Browser) -> None:
    page.open("/search?q=no-such-thing")
    page.shows("Nothing is called no-such-thing.", "#hits")


def test_dark_and_light(page: Browser) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    page.theme("dark")
    page.open("/")
    assert page.script(paper) == "rgb(15, 20, 26)"
    page.press("t")
    assert page.script(paper) == "rgb(255, 255, 255)"
    page.open("/facilities")
    assert page.script(paper) == "rgb(255, 255, 255)", "it is remembered"
    page.script("localStorage.clear()")
    page.theme("light")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_is_wider_than_its_window(
    page: Browser, names: dict[str, str], theme: str, size: tuple[int, int]
) -> None:
    """And a picture of each, to be looked at."""
    page.expected = "status of 404"
    page.theme(theme)
    for name, path in names.items():
        page.size(size)
        page.open(path)
        page.until(lambda: "Being counted" not in page.text(), "the counts")
        page.until(lambda: "begins" in page.text("#lines") or not page.all("#lines"), "the log")
        wide, window = page.script("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide <= window, name
        label = "desk" if size is DESK else "phone"
        page.shot(PICTURES / f"{name}-{theme}-{label}.png")


def test_every_word_on_every_page_can_be_read(page: Browser, names: dict[str, str]) -> None:
    """The contrasts as they are drawn (WCAG 2.2 AA), in light and in dark."""
    page.expected = "status of 404"
    for theme in ("light", "dark"):
        page.theme(theme)
        for name, path in names.items():
            page.open(path)
            page.until(lambda: "Being counted" not in page.text(), "the counts")
            assert page.script(DIM) == [], (theme, name)
    page.script("document.documentElement.style.setProperty('--soft', '#50555a')")
    assert page.script(DIM) != [], "it would be seen"


def test_a_person_with_a_keyboard_reaches_everything(page: Browser, names: dict[str, str]) -> None:
    """What can be clicked can be focused, and what has no words has a name."""
    page.expected = "status of 404"
    for path in names.values():
        page.open(path)
        nameless = page.script(
            """return [...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea')]
               .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.title
                              || e.labels?.length || e.querySelector('title')))
               .map(e => e.outerHTML.slice(0, 200))"""
        )
        assert nameless == [], path
        assert page.script("return document.querySelectorAll('[onclick]').length") == 0
