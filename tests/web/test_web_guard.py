"""Nobody comes in who has not the key, and nothing is changed but by a form of ours."""

import http.client
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from client_setup import Cm, wait_until
from daemon_process import DaemonProcess
from web_house import WebHouse, WebServer

from cm_client import Client
from cm_web.guard import POLICY


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


def test_it_starts_before_the_daemon(daemon: DaemonProcess, tmp_path: Path) -> None:
    server = WebServer(tmp_path, f"unix:{daemon.socket}")
    try:
        assert server.process.poll() is None
        daemon.start()
        with Client(f"unix:{daemon.socket}") as client:
            wait_until(lambda: client.get_daemon().watchers == 1)
    finally:
        server.close()


def test_the_key_is_kept_and_a_taken_port_is_said(house: WebHouse, tmp_path: Path) -> None:
    first = WebServer(tmp_path, house.daemon.target)
    port = first.url.split(":")[2].partition("/")[0]
    taken = Cm(house.daemon.target)("web", "--port", port)
    assert taken.returncode == 1
    assert f"cannot listen at 127.0.0.1:{port}" in taken.stderr
    first.close()
    again = WebServer(tmp_path, house.daemon.target, "--port", port)
    again.close()
    assert again.url == first.url
    file = tmp_path / "state-home" / "cmd-daemon" / "web-key"
    assert file.stat().st_mode & 0o777 == 0o600
