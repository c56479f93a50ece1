"""Every page shows what there is, and a newcomer finds what went wrong by clicks alone."""

import pytest
from browser import Browser
from web_house import BROKEN, RUNS, SHORT, WebHouse


@pytest.fixture(scope="module")
def story(house: WebHouse) -> str:
    """A campaign with a group in each kind of trouble; the first page has others beside it."""
    house.apply("asleep", start=False)
    name = house.apply("story", 8, g0002=SHORT, g0003=BROKEN, g0004=BROKEN, g0005=RUNS)
    for group, state in (
        ("0001", "ACCEPTED"),
        ("0002", "REVIEW"),
        ("0003", "HELD"),
        ("0005", "RUNNING"),
    ):
        house.reach(f"{name}/steps/isr/groups/{group}", state)
    house.reach(f"{name}/steps/isr/groups/0004", "HELD")
    return name


def test_all_campaigns(page: Browser, story: str) -> None:
    page.open("/")
    page.shows("story", "#campaigns")
    lines = page.text("#campaigns")
    assert "DM-4711" in lines
    assert "RUNNING" in lines
    assert "DRAFT" in lines
    assert lines.index("story") < lines.index("asleep"), "what needs a person comes first"
    page.shows("story/isr/0003", "#needs")
    assert "out of memory" in page.text("#needs")
    assert "USDF" in page.text("#facilities")
    page.shows("story/isr", "#events")


def test_one_campaign(page: Browser, story: str) -> None:
    page.open(f"/{story}")
    page.shows("4/8", "#steps")
    assert "5 of 8" not in page.text("#head")
    assert "2 held" in page.text("#head")
    assert [each.text for each in page.all(".node b:first-of-type")][:1] == ["isr"]
    assert len(page.all(".dag .edge")) == 2
    page.until(lambda: page.all(".heat .cell"), "the heat map")
    kinds = {each.get_attribute("class").split("f-")[1] for each in page.all(".heat .cell")}  # type: ignore[union-attr]
    assert {"done", "person", "run"} <= kinds
    page.until(lambda: page.all(".time .block"), "the timeline")
    page.until(lambda: page.all(".uplot canvas"), "the charts")
    page.shows("killed: out of memory at <n> kB", "#causes")
    assert "2" in page.text("#causes tbody tr:first-child td:first-child")
    assert "breakpoint" in page.text("#points")


def test_one_step(page: Browser, story: str) -> None:
    page.open(f"/{story}/steps/isr")
    page.shows("0008", "#groups")
    page.click("#groups select[name=state] option[value='HELD'], #groups select[name=state]")
    page.script("document.querySelector('#groups select[name=state]').value = 'HELD'")
    page.click("#groups .filter button")
    page.until(lambda: "state=HELD" in page.driver.current_url, "the filter")
    page.shows("0003", "#groups")
    assert "0001" not in page.text("#groups")
    page.open(f"/{story}/steps/look")
    page.shows("Look at the plots of the flats.", "#head")


def test_one_group_and_its_placement(page: Browser, story: str) -> None:
    page.open(f"/{story}/steps/isr/groups/0002")
    page.shows("REVIEW", "#head")
    assert "isr" in page.text("#quanta")
    assert "calibrate" in page.text("#quanta")
    placement = page.text("#placement")
    assert "balanced" in placement
    assert "share" in placement
    page.click("#placement .hint a")
    page.shows("Without", "#placement .whatif")
    assert "RUNNING" in page.text("#history")


def test_one_job_with_attempts_parts_and_log(page: Browser, house: WebHouse, story: str) -> None:
    name = f"{story}/steps/isr/groups/0005/jobs/process"
    page.open(f"/{name}")
    page.shows("story/isr/0005/process#1 begins", "#lines")
    assert "ends" not in page.text("#lines")
    assert "log.txt" in page.text("#parts")
    house.end("story/isr/0005/process#1")
    page.shows("story/isr/0005/process#1 ends", "#lines")
    page.shows("SUCCEEDED", "#attempts")
    page.open(f"/{story}/steps/isr/groups/0003/jobs/process?attempt=1")
    page.shows("out of memory", "#failures")
    assert "137" in page.text("#attempts")


def test_facilities_and_one_of_them(page: Browser, story: str) -> None:
    page.open("/facilities")
    page.shows("UKDF", "#facilities")
    page.shows("target 50 %", "#shares")
    page.click("#facilities [href='/facilities/USDF']")
    page.shows("closed", "#drivers")
    assert "story/isr" in page.text("#load")


def test_the_nexus_log(page: Browser, house: WebHouse) -> None:
    name = "campaigns/moves"
    page.open(f"/{house.moving('moves')}/nexus")
    page.shows("gather", "#page")
    told = page.text("#page")
    assert "FrDF → USDF" in told or "UKDF → USDF" in told
    assert "never arrived" in told
    page.open(f"/{name}")
    page.shows("gather, 2 gaps", "#points")


def test_events_and_their_pages(page: Browser, story: str) -> None:
    page.open("/events?parent=story/isr&kind=group")
    page.shows("story/isr", "h1")
    assert "ACCEPTED" in page.text("#events tbody")


def test_a_newcomer_finds_why_a_group_failed_by_clicks_alone(page: Browser, story: str) -> None:
    page.open("/")
    page.click("#campaigns a.open[href='/campaigns/story']")
    page.click("#causes a.open")
    page.shows("killed: out of memory at 8123456 kB", "#attempts")
    page.shows("begins", "#lines")


def test_a_newcomer_gets_from_what_waits_for_a_person_to_its_log(page: Browser, story: str) -> None:
    page.open("/")
    page.click(f"#needs a.open[href='/{story}/steps/isr/groups/0003']")
    page.shows("out of memory at 8123456 kB", "#head")
    page.click("#jobs a[href$='/jobs/process#log']")
    page.shows("story/isr/0003/process#1 begins", "#lines")
    page.shows("137", "#attempts")


def test_what_is_not_there_is_said(page: Browser, story: str) -> None:
    page.expected = "status of 40"  # the browser tells of each answer that is no success
    for path in ("/campaigns/nobody", "/facilities/Mars", "/campaigns/story/steps/isr/groups/9999"):
        page.open(path)
        page.shows("There is no", "#problem")
    page.open("/no/such/page")
    page.shows("Not Found", "#problem")
    page.open("/campaigns/story/steps/isr?state=MELTED")
    page.shows("MELTED is no state of a group.", "#problem")
