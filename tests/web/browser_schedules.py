"""The pages of the schedules: what launches next, what the last times came to, and acting on them."""

import itertools
from datetime import UTC, datetime

from browser import Browser
from browser_actions import confirm
from web_house import WebHouse

names = (f"monthly{number}" for number in itertools.count())


def test_all_schedules_by_their_next_time(page: Browser, house: WebHouse) -> None:
    page.open("/schedules")
    page.shows("No schedules yet.", "#schedules")
    name = house.schedule(next(names))
    page.shows(name.partition("/")[2], "#schedules")
    line = page.text("#schedules tbody")
    assert "ACTIVE" in line
    assert "0 6 1 * *" in line
    assert "America/Los_Angeles" in line
    following = house.cm.get_schedule(name).next_times[0].ToDatetime(UTC)
    assert f"{following:%Y-%m-%d %H:%M}" in line
    days = (following - datetime.now(UTC)).days
    assert f"{days} d" in line or days == 0
    page.press("j", "enter")
    page.until(lambda: page.driver.current_url.endswith(name), "its own page")


def test_one_schedule_with_its_next_times_and_files(page: Browser, house: WebHouse) -> None:
    name = house.schedule(next(names))
    short = name.partition("/")[2]
    page.open(f"/{name}")
    page.shows("Next times", "#ahead")
    told = page.text("#ahead")
    times = house.cm.get_schedule(name).next_times
    for time in times:
        assert f"{time.ToDatetime():%Y-%m-%d %H:%M}" in told
    assert told.count("06:00") >= len(times), "by its own clock it is always six"
    assert f"{short}-USDF-" in told
    assert f"{short}-FrDF-" in told
    assert "until all of the last launch are final" in page.text("#head")
    assert "None of its times has come yet." in page.text("#runs")
    page.click("#template-file summary")
    page.shows("campaign: " + short, "#template-file")


def test_run_pause_resume_and_remove(page: Browser, house: WebHouse) -> None:
    name = house.schedule(next(names))
    short = name.partition("/")[2]
    page.open(f"/{name}")
    confirm(page, "/act/run", "once, now", "The next time is 20", reason="the stack is new")
    page.shows("LAUNCHED", "#runs")
    assert "the stack is new" in page.text("#runs")
    page.click(f"#runs a[href^='/campaigns/{short}-USDF-']")
    page.shows(f"{short}-USDF-", "h1")
    page.open(f"/{name}")
    confirm(page, "/act/pause", "Nothing is launched", reason="downtime at FrDF")
    page.shows("PAUSED", "#head .head")
    page.shows("downtime at FrDF", "#head")
    page.shows("until it is resumed", "#ahead")
    confirm(page, "/act/resume", "are not made up")
    page.shows("ACTIVE", "#head .head")
    confirm(page, "/act/remove", "Its history stays", reason="no longer wanted")
    page.shows("REMOVED", "#head .head")
    assert not page.all("#page a[data-act]")
    told = page.text("#history")
    for word in ("SchedulePaused", "ScheduleResumed", "ScheduleRemoved", "by pilot1"):
        assert word in told
    page.open("/schedules")
    page.until(lambda: short not in page.text("#schedules"), "its end")


def test_a_schedule_that_is_not_there_is_said(page: Browser) -> None:
    page.expected = "status of 404"
    page.open("/schedules/nobody")
    page.shows("There is no", "#problem")
