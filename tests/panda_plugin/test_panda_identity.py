"""The credential: read again, renewed early, told of days ahead, and never said."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from issuer import TokenEndpoint, unsigned_token
from panda_place import PandaPlace
from pydantic import ValidationError

from cmd_daemon.hooks import ErrorClass
from cmd_panda.faults import Kind, PandaFault
from cmd_panda.identity import Identity
from cmd_panda.server import PandaServer
from cmd_panda.settings import PandaSettings

DAY = 86_400.0
START = 1_800_000_000.0
SECRET = "s3cr3t-signature"
REFRESH = "s3cr3t-refresh"


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = START

    def now(self) -> int:
        """Microseconds."""
        return round(self.seconds * 1e6)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with TokenEndpoint() as made:
        yield made


def settings(**changes: Any) -> PandaSettings:
    return PandaSettings.model_validate(
        {"server": "https://panda.example.org:8443", "queue": "Q", **changes}
    )


@pytest.fixture
def identity(tmp_path: Path, clock: Clock) -> Callable[..., Identity]:
    """An identity over a token that lives ten days."""
    (tmp_path / "token").write_text(unsigned_token(SECRET, START + 10 * DAY))

    def made(**changes: Any) -> Identity:
        return Identity(settings(token_file=tmp_path / "token", **changes), clock.now)

    return made


async def test_the_token_and_its_origin_go_into_headers(
    identity: Callable[..., Identity], tmp_path: Path
) -> None:
    headers = await identity().headers()
    assert headers["Authorization"] == f"Bearer {(tmp_path / 'token').read_text()}"
    assert headers["Origin"] == "Rubin:production"


async def test_a_file_that_has_changed_is_read_again(
    identity: Callable[..., Identity], tmp_path: Path
) -> None:
    mine = identity()
    before = await mine.headers()
    (tmp_path / "token").write_text(unsigned_token("another", START + DAY))
    after = await mine.headers()
    assert before != after
    assert after["Authorization"].endswith(".another")


async def test_an_expired_token_is_not_sent(
    identity: Callable[..., Identity], tmp_path: Path, clock: Clock
) -> None:
    mine = identity()
    await mine.headers()
    clock.seconds = START + 10 * DAY + 1
    with pytest.raises(PandaFault) as caught:
        await mine.headers()
    assert caught.value.error_class is ErrorClass.NOT_YET, "work waits for a new token"
    assert str(tmp_path / "token") in str(caught.value), "and people are told where to put it"
    assert SECRET not in str(caught.value)
    (tmp_path / "token").write_text(unsigned_token(SECRET, clock.seconds + DAY))
    assert await mine.headers()


@pytest.mark.parametrize("content", [None, b"", b"  \n", b"two words", b"\xff\xfe\x00"])
async def test_a_file_without_a_token_is_told_of(
    identity: Callable[..., Identity], tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "token"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PandaFault, match="token") as caught:
        await identity().headers()
    assert caught.value.kind is Kind.CREDENTIAL


async def test_people_are_warned_days_ahead(
    identity: Callable[..., Identity], clock: Clock
) -> None:
    mine = identity(warn_days=3.0)
    assert not (await mine.standing()).soon
    clock.seconds = START + 7.5 * DAY
    standing = await mine.standing()
    assert (standing.soon, standing.expired) == (True, False)
    assert "expires in 2.5 days" in standing.message
    clock.seconds = START + 11 * DAY
    standing = await mine.standing()
    assert standing.expired
    assert "has expired" in standing.message


async def test_a_systemd_credential(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Identity(settings(token_credential="panda-token"), clock.now)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(PandaFault, match="panda-token"):
        await mine.headers()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "panda-token").write_text(unsigned_token(SECRET, START + DAY))
    assert (await mine.headers())["Authorization"].endswith(SECRET)


# ---- refreshing


@pytest.fixture
def renewing(
    identity: Callable[..., Identity], endpoint: TokenEndpoint, tmp_path: Path
) -> Callable[..., Identity]:
    (tmp_path / "refresh").write_text(REFRESH)

    def made(**changes: Any) -> Identity:
        refresh = {
            "token_url": endpoint.url,
            "client_id": "cmd",
            "token_file": tmp_path / "refresh",
        }
        return identity(refresh=refresh, **changes)

    return made


async def test_a_new_token_is_got_before_the_old_one_ends(
    renewing: Callable[..., Identity], endpoint: TokenEndpoint, tmp_path: Path, clock: Clock
) -> None:
    mine = renewing(refresh_before_s=2 * DAY)
    await mine.headers()
    assert endpoint.asked == [], "there is time"
    clock.seconds = START + 8.5 * DAY
    new = unsigned_token("renewed", clock.seconds + 10 * DAY)
    endpoint.answers.append((200, {"id_token": new, "refresh_token": "s3cr3t-refresh-2"}))
    assert (await mine.headers())["Authorization"] == f"Bearer {new}"
    (form,) = endpoint.asked
    assert (form["grant_type"], form["client_id"]) == ("refresh_token", "cmd")
    assert form["refresh_token"] == REFRESH
    for name, text in (("token", new), ("refresh", "s3cr3t-refresh-2")):
        assert (tmp_path / name).read_text() == text, "it outlives the daemon"
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    await mine.headers()
    assert len(endpoint.asked) == 1


async def test_a_token_of_an_hour_is_renewed_in_its_last_third(
    renewing: Callable[..., Identity], endpoint: TokenEndpoint, tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "token").write_text(unsigned_token(SECRET, START + 3600, START))
    mine = renewing()
    clock.seconds = START + 2300
    await mine.headers()
    assert endpoint.asked == []
    clock.seconds = START + 2500
    endpoint.answers.append((200, {"id_token": unsigned_token("new", START + 6000, START + 2500)}))
    await mine.headers()
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (400, {"error": "invalid_grant", "error_description": REFRESH}),
        (200, {"access_token": "s3cr3t-access"}),
        (200, [1]),
        (500, b"<html>s3cr3t</html>"),
        (200, b"s3cr3t"),
    ],
)
async def test_an_issuer_that_says_no_is_told_of_and_the_old_token_serves_on(
    renewing: Callable[..., Identity],
    endpoint: TokenEndpoint,
    clock: Clock,
    answer: tuple[int, Any],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    mine = renewing(refresh_before_s=2 * DAY)
    clock.seconds = START + 9 * DAY
    endpoint.answers += [answer, answer]
    assert (await mine.headers())["Authorization"].endswith(SECRET)
    await mine.headers()
    assert len(endpoint.asked) == 1, "not asked again at once"
    clock.seconds += 61
    await mine.headers()
    assert len(endpoint.asked) == 2
    standing = await mine.standing()
    assert "no new token from" in standing.message
    out, err = capfd.readouterr()
    assert "s3cr3t" not in out + err + caplog.text + standing.message


# ---- proxies


def _proxy(folder: Path, lifetime: timedelta) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "robot")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + lifetime)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = folder / "x509up"
    file.write_bytes(
        made.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    return file


async def test_a_proxy_is_shown_instead_of_a_token(tmp_path: Path) -> None:
    file = _proxy(tmp_path, timedelta(days=2.5))

    def now() -> int:
        return round(datetime.now(UTC).timestamp() * 1e6)

    mine = Identity(settings(auth="x509_proxy", proxy=file), now)
    assert await mine.headers() == {}
    assert await mine.trust()
    standing = await mine.standing()
    assert standing.soon
    assert "the proxy" in standing.message
    assert "2.5 days" in standing.message
    before = mine.stamps()
    _proxy(tmp_path, timedelta(days=30))
    assert mine.stamps() != before, "another proxy needs another connection"
    file.write_text("no proxy")
    assert (await mine.standing()).expired
    with pytest.raises(PandaFault) as caught:
        await mine.trust()
    assert caught.value.kind is Kind.CREDENTIAL


# ---- settings and TLS


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"server": "http://panda.example.org"}, "server"),
        ({"server": "ftp://panda"}, "server"),
        ({}, "token_file or token_credential"),
        ({"token_file": "/t", "token_credential": "t"}, "token_file or token_credential"),
        ({"auth": "x509_proxy"}, "proxy"),
        ({"token_file": "/t", "prefix": "9"}, "prefix"),
        ({"token_file": "/t", "queu": "x"}, "queu"),
        (
            {
                "token_credential": "t",
                "refresh": {"token_url": "https://i/t", "client_id": "c", "token_file": "/r"},
            },
            "refresh needs token_file",
        ),
    ],
)
def test_bad_settings_name_their_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        settings(**changes)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:2"])
def test_plain_http_is_for_this_machine(url: str) -> None:
    assert settings(server=url, token_file="/t").server == url


async def test_tls_is_strict(place: PandaPlace) -> None:
    trusting = place.settings(server=place.server.tls_url, ca=place.server.ca_file)
    server = PandaServer(trusting, place.host.now)
    await server.greet()
    await server.close()
    stranger = PandaServer(place.settings(server=place.server.tls_url), place.host.now)
    with pytest.raises(PandaFault, match="does not vouch for") as caught:
        await stranger.greet()
    assert caught.value.kind is Kind.CREDENTIAL
    assert not place.asked(lambda each: "get_user_attributes" in each)[1:], "nothing was sent"
    await stranger.close()
