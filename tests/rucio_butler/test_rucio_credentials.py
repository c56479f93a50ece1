"""Until when credentials are good, and files of them that are not there."""

import base64
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from test_rucio_contract import section

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_daemon.testing import facility_info
from cmd_rucio_butler.connecting import make_client
from cmd_rucio_butler.credentials import Expired, proxy_end, read_token, token_end
from cmd_rucio_butler.faults import Kind, fault_of
from cmd_rucio_butler.settings import rucio_settings


def token(**claims: Any) -> str:
    return f"h.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.s"


def test_a_web_token_says_until_when_it_is_good() -> None:
    assert token_end(token(exp=1_800_000_000)) == datetime.fromtimestamp(1_800_000_000, UTC)


@pytest.mark.parametrize(
    "text",
    ["root-cmd-unknown-0123", "a.b.c", "..", "", token(), token(exp="soon"), token(exp=1e99)],
)
def test_what_does_not_say_it_is_left_to_the_server(text: str) -> None:
    assert token_end(text) is None


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"])
def test_so_is_what_is_no_certificate(text: str) -> None:
    assert proxy_end(text) is None


def test_an_expired_token_is_told_by_file_time_and_facility(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token(exp=1_700_000_000))
    with pytest.raises(Expired) as caught:
        read_token(file, "FrDF")
    fault = fault_of(caught.value, "rules listed", "http://r")
    assert fault is not None
    assert (fault.kind, fault.error_class) == (Kind.EXPIRED, ErrorClass.PERMANENT)
    assert str(fault) == (
        f"Rucio at http://r: rules listed: Expired: facility FrDF: the token in {file} has expired on "
        "2023-11-14 22:13:20 UTC (renew it, then retry)"
    )
    file.write_text(token(exp=time.time() + 60) + "\n")
    assert read_token(file, "FrDF").endswith(".s")


@pytest.mark.parametrize(
    ("auth", "key"),
    [("x509_proxy", "proxy"), ("oidc", "token_file"), ("userpass", "password_file")],
)
def test_a_file_that_is_not_there_is_told_with_its_facility(
    tmp_path: Path, auth: str, key: str
) -> None:
    missing = str(tmp_path / "missing")
    info = facility_info(settings={"rucio": section(tmp_path, auth=auth, **{key: missing})})
    with pytest.raises(DriverError) as caught:
        make_client(rucio_settings(info), tmp_path)
    assert caught.value.error_class is ErrorClass.PERMANENT
    assert f"facility HERE: section 'rucio': {key} cannot be read" in str(caught.value)
    assert missing in str(caught.value)
