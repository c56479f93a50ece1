"""Names and messages never run, and nobody comes in who has not the key."""

import http.client
from urllib.parse import quote, urlencode, urlsplit

from browser import Browser
from web_house import WebHouse

from cm_web.guard import POLICY
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


def test_hostile_addresses(page: Browser, house: WebHouse) -> None:
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
    page.open("/")
    page.complaints()


class Visitor:
    """Requests without a browser; only what is given is sent."""

    def __init__(self, house: WebHouse) -> None:
        self.address = urlsplit(house.url)
        self.key = self.address.query.partition("=")[2]
        self.cookie = f"cm_web_{self.address.port}={self.key}"

    def ask(
        self, path: str, method: str = "GET", body: str = "", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, str]:
        """Status, headers and body of the answer."""
        assert self.address.hostname
        connection = http.client.HTTPConnection(
            self.address.hostname, self.address.port, timeout=20
        )
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()


def test_only_who_has_the_key_comes_in(house: WebHouse) -> None:
    visitor = Visitor(house)
    for path in ("/", "/live?on=campaigns", "/facilities", "/act/drain?name=facilities/USDF"):
        status, _, body = visitor.ask(path)
        assert status == 403
        assert "cm web" in body
        assert "USDF" not in body
    assert visitor.ask("/", cookie=visitor.cookie[:-1])[0] == 403
    assert visitor.ask("/?key=wrong")[0] == 403
    assert visitor.ask("/", cookie=visitor.cookie)[0] == 200
    status, headers, _ = visitor.ask(f"/campaigns/a?attempt=1&key={visitor.key}")
    assert (status, headers["location"]) == (303, "/campaigns/a?attempt=1")
    assert "HttpOnly" in headers["set-cookie"]
    assert "samesite=lax" in headers["set-cookie"].lower()
    for path in ("//evil.example/x", "/%5cevil.example/x", "/\\evil.example"):
        location = visitor.ask(f"{path}?key={visitor.key}")[1]["location"]
        assert location.startswith("/")
        assert not location.startswith(("//", "/\\"))


def test_the_server_answers_to_its_own_names_only(house: WebHouse) -> None:
    visitor = Visitor(house)
    for host in ("evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:8000"):
        status, _, body = visitor.ask("/", cookie=visitor.cookie, host=host)
        assert status == 421, host
        assert "campaign" not in body
    for host in ("localhost", "localhost:9999", "127.0.0.1", "[::1]:80"):  # as through a tunnel
        assert visitor.ask("/", cookie=visitor.cookie, host=host)[0] == 200, host


def test_a_change_must_come_from_a_form_of_ours(house: WebHouse) -> None:
    visitor = Visitor(house)
    own = f"http://{visitor.address.netloc}"
    form = {"content-type": "application/x-www-form-urlencoded", "cookie": visitor.cookie}
    body = urlencode({"name": "facilities/USDF", "reason": "forged"})
    path = "/act/drain"
    for origin in ("http://evil.example", "null", own.replace("http:", "https:") + ".evil.example"):
        assert visitor.ask(path, "POST", body, **form, origin=origin)[0] == 403
    assert visitor.ask(path, "POST", body, **form)[0] == 403, "no origin"
    status, _, text = visitor.ask(path, "POST", body, **form, origin=own)
    assert status == 403, "no token"
    assert "not of this dashboard" in text
    wrong = body + "&token=" + "0" * 64
    assert visitor.ask(path, "POST", wrong, **form, origin=own)[0] == 403
    assert visitor.ask(path, "POST", "x" * 2_000_000, **form, origin=own)[0] == 413
    assert not house.cm.get_facility("facilities/USDF").drained


def test_every_answer_carries_the_policy(house: WebHouse) -> None:
    visitor = Visitor(house)
    for path in ("/", "/static/app.js", "/nowhere", "/campaigns/nobody"):
        _, headers, _ = visitor.ask(path, cookie=visitor.cookie)
        assert headers["content-security-policy"] == POLICY, path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
    assert "unsafe" not in POLICY
    assert "http" not in POLICY, "nothing from elsewhere"
    _, headers, _ = visitor.ask("/", cookie=visitor.cookie)
    assert headers["cache-control"] == "no-store"


def test_nothing_comes_from_elsewhere(page: Browser, house: WebHouse) -> None:
    page.open("/")
    page.until(lambda: page.text("#facilities"), "the page")
    files = page.script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert files
    assert [name for name in files if not name.startswith(page.root)] == []
