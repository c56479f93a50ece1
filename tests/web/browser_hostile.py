"""Names and messages never run as HTML or script, wherever they are shown."""

from urllib.parse import quote, urlencode

from browser import Browser
from web_house import WebHouse

from cmd_daemon.testing.world import Behaviour

MARKUP = (
    "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
    "\"'><svg onload=window.hacked=1>{{7*7}}${7*7} javascript:alert(1) \x1b[31m\u202eevil & </td></pre>"
)
WORDS = "<script>window.hacked=1</script>"


def test_hostile_messages_are_shown_and_never_run(page: Browser, house: WebHouse) -> None:
    bad = Behaviour(
        ok=False,
        message=MARKUP,
        quanta={"<b>task</b>": (2, 0)},
        extra={"books": [{"source": MARKUP, "destination": "USDF", "type": MARKUP, "made": 1}]},
    )
    name = house.apply("hostile", 2, g0001=bad)
    group = house.reach(f"{name}/steps/isr/groups/0001", "HELD", "REVIEW")
    house.cm.reject_group(group, reason=MARKUP)
    house.cm.drain_facility("facilities/UKDF", reason=MARKUP)
    paths = (
        "/",
        f"/{name}",
        f"/{name}/nexus",
        f"/{name}/steps/isr",
        f"/{group}",
        f"/{group}/jobs/process",
        "/facilities",
        "/facilities/UKDF",
        f"/events?parent={quote('hostile')}",
        f"/search?q={quote(MARKUP)}",
        f"/{name}/steps/isr?prefix={quote(WORDS)}",
        f"/act/drain?{urlencode({'name': 'facilities/USDF'})}",
    )
    shown = 0
    for path in paths:
        page.open(path)
        page.until(lambda: page.text("#page"), path)
        assert page.script("return window.hacked ?? 0") == 0, path
        assert not page.all("#page img, #page script, [onerror], [onload]"), path
        text = page.text("body")
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "49" not in page.text("#hits") or "{{7*7}}" in page.text("#hits")
        shown += WORDS in text
    house.cm.undrain_facility("facilities/UKDF")
    assert shown >= 6, "the messages are shown as they are"
    assert page.script("return window.hacked ?? 0") == 0


def test_hostile_addresses(page: Browser) -> None:
    page.expected = "status of 40"
    for path in (
        "/campaigns/" + quote("<script>window.hacked=1</script>", safe=""),
        "/facilities/" + quote("\"'><img src=x onerror=window.hacked=1>", safe=""),
        "/campaigns/..%2f..%2fetc/steps/x",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/act/explode?name=campaigns/x",
        "/act/retry?name=" + quote("<script>"),
        "/events?parent=" + quote("</textarea><script>window.hacked=1</script>"),
        "/campaigns/story/steps/isr/groups/x/jobs/y?attempt=" + "9" * 400,
    ):
        page.open(path)
        page.until(lambda: page.text("body"), path)
        assert page.script("return window.hacked ?? 0") == 0, path
        assert "Traceback" not in page.text("body")


def test_nothing_comes_from_elsewhere(page: Browser, house: WebHouse) -> None:
    page.open("/")
    page.until(lambda: page.text("#facilities"), "the page")
    files = page.script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert files
    assert [name for name in files if not name.startswith(page.root)] == []
