"""Each action from the page: what it says it will do, what it does, and what a refusal looks like."""

import itertools
from collections.abc import Iterator

import pytest
from browser import Browser
from web_house import BROKEN, RUNS, SHORT, WebHouse

names = (f"act{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def _calm(house: WebHouse) -> Iterator[None]:
    """Facilities as they were."""
    yield
    for facility in house.cm.list_facilities().facilities:
        if facility.killed:
            house.cm.revive_facility(facility.name)
        if facility.drained:
            house.cm.undrain_facility(facility.name)


def confirm(page: Browser, label: str, *words: str, reason: str = "a test says so") -> None:
    """Press a button of the head, read what it will do, say why, and confirm it."""
    page.click(f"#page a.button[data-act][href*='{label}']")
    page.until(lambda: page.all("dialog[open] .ask"), "the question")
    for each in words:
        assert each in page.text("dialog[open]")
    assert "as pilot1" in page.text("dialog[open]")
    if reason:
        page.find("dialog[open] textarea").send_keys(reason)
    page.click("dialog[open] button.main")
    page.until(lambda: not page.all("dialog[open]"), "the dialog's end")


def by_me(house: WebHouse, name: str, cause: str, reason: str = "a test says so") -> bool:
    """Whether the history has what the person did, with name and reason."""
    events = house.events(name, cause)
    return [(event.actor, event.reason) for event in events] == [("pilot1", reason)]


def test_start_pause_resume_cancel_archive(page: Browser, house: WebHouse) -> None:
    name = house.apply(next(names), 2, start=False, g0001=RUNS)
    page.open(f"/{name}")
    confirm(page, "/act/start", "first steps begin")
    house.reach(f"{name}/steps/isr/groups/0001", "RUNNING")
    page.shows("RUNNING", "#head .head")
    confirm(page, "/act/pause", "1 job in outside systems")
    page.shows("PAUSED", "#head .head")
    page.shows("1 paused", "#head")
    confirm(page, "/act/resume")
    page.shows("RUNNING", "#head .head")
    confirm(page, "/act/cancel", "cannot be taken back", "are not final")
    page.shows("CANCELLED", "#head .head")
    confirm(page, "/act/archive")
    house.reach(name, "ARCHIVED")
    assert by_me(house, name, "CampaignCancelled")


def test_retry_of_a_held_group(page: Browser, house: WebHouse) -> None:
    name = house.apply(next(names), 2, g0001=BROKEN)
    group = house.reach(f"{name}/steps/isr/groups/0001", "HELD")
    page.open(f"/{group}")
    confirm(page, "/act/retry", "new budget of attempts")
    page.shows("ACCEPTED", "#head .head")
    assert by_me(house, group, "GroupRetried")


def test_retry_missing_only_accept_and_reject_of_a_group_in_review(
    page: Browser, house: WebHouse
) -> None:
    name = house.apply(next(names), 4, g0001=SHORT, g0002=SHORT, g0003=SHORT)
    one, two, three = (f"{name}/steps/isr/groups/000{number}" for number in (1, 2, 3))
    for group in (one, two, three):
        house.reach(group, "REVIEW")
    page.open(f"/{one}")
    confirm(page, "mode=missing-only", "3 quanta that did not succeed")
    page.shows("ACCEPTED", "#head .head")
    page.open(f"/{two}")
    confirm(page, "/act/accept", "3 quanta that did not succeed are recorded as lost")
    page.shows("accepted by pilot1 with 3 quanta lost", "#jobs")
    assert house.group(two).quanta.lost == 3
    page.open(f"/{three}")
    confirm(page, "/act/reject", "left out for good")
    page.shows("REJECTED", "#head .head")
    assert by_me(house, three, "GroupRejected")


def test_hold_release_and_move(page: Browser, house: WebHouse) -> None:
    name = house.apply(next(names), 1, g0001=BROKEN)
    group = house.reach(f"{name}/steps/isr/groups/0001", "HELD")
    here = house.group(group).facility
    there = next(f"facilities/{each}" for each in ("USDF", "FrDF") if each not in here)
    page.open(f"/{group}")
    page.click("#page a[data-act][href*='/act/move']")
    page.until(lambda: page.all("dialog[open] .choice"), "the facilities")
    assert not page.all(f"dialog[open] input[value='{here}']")
    page.click(f"dialog[open] input[value='{there}']")
    page.find("dialog[open] textarea").send_keys("the other one is quicker")
    page.click("dialog[open] button.main")
    page.shows("moved there by hand", "#head")
    page.shows("ACCEPTED", "#head .head")
    assert house.group(group).facility == there

    name = house.apply(next(names), 1, g0001=RUNS)
    group = house.reach(f"{name}/steps/isr/groups/0001", "RUNNING")
    page.open(f"/{group}")
    confirm(page, "/act/hold", "Nothing more is submitted")
    page.shows("HELD", "#head .head")
    confirm(page, "/act/release", reason="")
    page.shows("RUNNING", "#head .head")


def test_pause_and_resume_of_one_attempt(page: Browser, house: WebHouse) -> None:
    name = house.apply(next(names), 1, g0001=RUNS)
    group = house.reach(f"{name}/steps/isr/groups/0001", "RUNNING")
    page.open(f"/{group}")
    confirm(page, "/act/pause", "keeps its slot")
    page.shows("PAUSED", "#jobs")
    page.open(f"/{group}/jobs/process")
    page.shows("PAUSED", "#head .head")
    confirm(page, "/act/resume", "goes on")
    page.shows("RUNNING", "#head .head")
    page.until(lambda: page.all("#page a[data-act][href*='/act/pause']"), "the pause again")
    house.end(f"{name.partition('/')[2]}/isr/0001/process#1")
    page.shows("SUCCEEDED", "#head .head")


def test_sign_and_release_of_a_step(page: Browser, house: WebHouse) -> None:
    name = house.apply(next(names), 1)
    step = house.reach(f"{name}/steps/look", "REVIEW")
    page.open(f"/{step}")
    confirm(
        page, "/act/sign", "Look at the plots of the flats.", "The steps after it go on: coadd."
    )
    page.shows("signed by pilot1", "#head")
    assert by_me(house, step, "StepSigned")


def test_drain_undrain_kill_revive(page: Browser, house: WebHouse) -> None:
    page.open("/facilities/UKDF")
    confirm(page, "/act/drain", "No new work is sent there", reason="a new air conditioner")
    page.shows("drained", "#head .head")
    page.shows("a new air conditioner", "#head")
    confirm(page, "/act/undrain")
    page.shows("up", "#head .head")
    confirm(page, "/act/kill", "cancelled, now", reason="smoke")
    page.shows("killed", "#head .head")
    confirm(page, "mode=retry")
    page.shows("up", "#head .head")
    assert not house.cm.get_facility("facilities/UKDF").killed


def test_redrive_of_gaps(page: Browser, house: WebHouse) -> None:
    name = house.moving(next(names))
    page.open(f"/{name}/steps/fit/groups/all")
    confirm(page, "/act/redrive", "2 gaps in 1 group: all.")
    page.shows("ACCEPTED", "#head .head")


def test_many_groups_at_once(page: Browser, house: WebHouse) -> None:
    name = house.apply(next(names), 4, g0001=BROKEN, g0002=BROKEN, g0003=BROKEN)
    for number in (1, 2, 3):
        house.reach(f"{name}/steps/isr/groups/000{number}", "HELD")
    page.open(f"/{name}/steps/isr?state=HELD")
    for number in (1, 2):
        page.click(f"#groups input[value$='000{number}']")
    page.click("#groups button[formaction='/act/retry']")
    page.until(lambda: page.all("dialog[open] .ask"), "the question")
    assert "2 groups: 2 HELD" in page.text("dialog[open]")
    assert f"{name.partition('/')[2]}/isr/0002" in page.text("dialog[open]")
    page.click("dialog[open] button.main")
    for number in (1, 2):
        house.reach(f"{name}/steps/isr/groups/000{number}", "ACCEPTED")
    assert house.state(f"{name}/steps/isr/groups/0003") == "HELD"
    page.open(f"/{name}/steps/isr?state=HELD")
    page.click("#groups .all a[href^='/act/reject']")
    page.until(lambda: page.all("dialog[open] .ask"), "the question")
    page.find("dialog[open] textarea").send_keys("not worth it")
    page.click("dialog[open] button.main")
    house.reach(f"{name}/steps/isr/groups/0003", "REJECTED")


def test_a_refusal_is_shown_in_the_words_of_the_api(page: Browser, house: WebHouse) -> None:
    page.expected = "status of 409"
    name = house.apply(next(names), 2, g0001=BROKEN)
    group = house.reach(f"{name}/steps/isr/groups/0001", "HELD")
    page.open(f"/{group}")
    page.click("#page a.button[href*='/act/reject']")
    page.until(lambda: page.all("dialog[open] .ask"), "the question")
    house.cm.reject_group(group, reason="somebody was quicker")
    page.find("dialog[open] textarea").send_keys("too late")
    page.click("dialog[open] button.main")
    page.shows("has changed since you read it", "dialog[open] .refused")
    assert page.find("dialog[open] textarea").get_attribute("value") == "too late"
    page.click("dialog[open] button.main")
    page.shows("REJECTED", "dialog[open] .refused")
    assert len(house.events(group, "GroupRejected")) == 1


def test_without_scripts_the_question_is_a_page(page: Browser, house: WebHouse) -> None:
    name = house.apply(next(names), 2, g0001=BROKEN)
    group = house.reach(f"{name}/steps/isr/groups/0001", "HELD")
    page.open(f"/act/retry?name={group}")
    page.script("document.querySelector('.ask').submit()")
    page.until(lambda: page.driver.current_url.endswith(group), "the way back")
    house.reach(group, "ACCEPTED")
