"""Names, addresses, back-off and errors: the parts of the client library without a connection."""

from pathlib import Path

import grpc
import pytest

from cm_client import Address, Backoff, Name, facility_name, group_name, parse_name, short_name
from cm_client.errors import (
    CmError,
    DaemonUnavailable,
    DeadlineExceeded,
    NotAccepting,
    SocketForbidden,
    error_of,
)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("x", "campaigns/x"),
        ("x/y", "campaigns/x/steps/y"),
        ("x/y/z", "campaigns/x/steps/y/groups/z"),
        ("x/y/z/j", "campaigns/x/steps/y/groups/z/jobs/j"),
    ],
)
def test_both_forms_are_read(short: str, full: str) -> None:
    assert parse_name(short) == parse_name(full)
    assert parse_name(short).full == full
    assert parse_name(full).short == short
    assert short_name(full) == short


@pytest.mark.parametrize("text", ["", "/", "x/", "/x", "x//y", "a/b/c/d/e", "campaigns/"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="campaign\\[/step"):
        parse_name(text)


def test_names_are_built_and_taken_apart() -> None:
    assert group_name("x", "y", "z") == "campaigns/x/steps/y/groups/z"
    assert Name(("x",)).child("y").parent == Name(("x",))
    assert [Name(("x", "y", "z")[:n]).level for n in (1, 2, 3)] == ["campaign", "step", "group"]
    with pytest.raises(ValueError):
        group_name("x", "a/b", "z")
    with pytest.raises(ValueError):
        Name(("x",)).parent  # noqa: B018
    assert facility_name("USDF") == facility_name("facilities/USDF") == "facilities/USDF"
    assert short_name("facilities/USDF") == "USDF"


def test_the_address_comes_from_the_first_that_tells_it(tmp_path: Path) -> None:
    own = tmp_path / "cmd-daemon" / "cmd.sock"
    own.parent.mkdir()
    own.touch()
    env = {"XDG_RUNTIME_DIR": str(tmp_path), "CM_ACTOR": "pilot1"}
    assert Address.find("unix:/a", environment={**env, "CM_ADDRESS": "unix:/b"}).target == "unix:/a"
    assert Address.find(environment={**env, "CM_ADDRESS": "unix:/b"}).target == "unix:/b"
    assert Address.find(environment=env).target == f"unix:{own}"
    assert Address.find(environment={}).target == "unix:/run/cmd-daemon/cmd.sock"
    assert Address.find(environment=env).actor == "pilot1"
    assert Address.find(actor="me", environment=env).metadata == (("x-cmd-actor", "me"),)


@pytest.mark.parametrize("actor", ["zoë", "a\nb", "a\x00"])
def test_an_actor_that_cannot_be_sent_is_refused(actor: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        Address.find(actor=actor, environment={})


def test_waits_grow_and_stay_within_their_bounds() -> None:
    backoff = Backoff(first=0.1, factor=2, longest=1.0)
    assert backoff.wait(1, 0.0) == pytest.approx(0.05)
    assert backoff.wait(1, 1.0) == pytest.approx(0.1)
    assert backoff.wait(3, 1.0) == pytest.approx(0.4)
    assert backoff.wait(10_000, 1.0) == 1.0


def test_only_a_lost_connection_is_tried_again_and_only_what_is_safe() -> None:
    backoff = Backoff(tries=3)
    lost, deadline = DaemonUnavailable("x"), DeadlineExceeded("x")
    assert backoff.again(lost, repeatable=True, failures=2)
    assert not backoff.again(lost, repeatable=True, failures=3)
    assert not backoff.again(lost, repeatable=False, failures=1)
    assert not backoff.again(deadline, repeatable=True, failures=1)
    assert not backoff.again(CmError("x"), repeatable=True, failures=1)
    assert backoff.again(NotAccepting("x"), repeatable=True, failures=1)
    assert CmError("x").code is grpc.StatusCode.UNKNOWN


def test_a_socket_that_one_may_not_open_names_who_may(tmp_path: Path) -> None:
    details = "failed to connect to all addresses; last error: connect: Permission denied (13)"
    failure = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details
    )
    here = error_of(failure, f"unix:{tmp_path}")
    assert isinstance(here, SocketForbidden)
    assert f"group {tmp_path.group()!r}" in here.message
    assert "its group" in error_of(failure, f"unix:{tmp_path}/none.sock").message
