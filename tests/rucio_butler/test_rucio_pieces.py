"""Names, settings, errors, hints, and how datasets are shared among zips."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quick_contract import order
from rucio.common import exception
from test_rucio_contract import section

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.moving.manifest import Item, Link
from cmd_local.moving.orders import Movement, movement_of
from cmd_local.moving.sending import Meter
from cmd_rucio_butler import naming
from cmd_rucio_butler.asking import RucioButlers
from cmd_rucio_butler.declaring import Declarations, Declarer, Known
from cmd_rucio_butler.faults import Kind, fault_of, kind_of
from cmd_rucio_butler.hints import StompHints
from cmd_rucio_butler.settings import RucioSettings, StompSettings, rucio_settings, settings_at

LINK = Link("FrDF", "USDF")


def movement(**changes: Any) -> Movement:
    return movement_of(replace(order("g"), **changes))


def settings(directory: Path, **changes: Any) -> RucioSettings:
    return rucio_settings(facility_info(settings={"rucio": section(directory, **changes)}))


def test_names_follow_from_the_order_alone() -> None:
    named = movement(campaign="DRP", step="coadd", group="9813")
    assert naming.dataset_name(named, LINK) == "Dataset/DRP/coadd/9813/FrDF/keep"
    assert naming.dataset_name(named, LINK, 2) == "Dataset/DRP/coadd/9813/FrDF/keep.2"
    assert naming.step_container(named) == "Container/DRP/coadd"
    again = movement(campaign="DRP", step="coadd", group="9813", attempt=7)
    assert naming.dataset_name(again, LINK) == naming.dataset_name(named, LINK)
    told = json.loads(naming.meta(named, LINK))["cmd"]
    assert (told["campaign"], told["group"], told["destination"]) == ("DRP", "9813", "USDF")


def test_long_and_foreign_names_become_names_for_rucio_and_stay_apart() -> None:
    one = naming.dataset_name(movement(group="a" * 300), LINK, 12)
    other = naming.dataset_name(movement(group="a" * 301), LINK, 12)
    assert one != other
    assert naming.lfn_problem(one) == naming.lfn_problem(other) == ""
    assert naming.dataset_name(movement(group="a b"), LINK).endswith("/a_b/FrDF/keep")


@pytest.mark.parametrize("lfn", ["../x", ".hidden/x", "a b", "x" * 251, "", "a+b"])
def test_paths_rucio_would_not_take_are_told(lfn: str) -> None:
    assert "is no name for Rucio" in naming.lfn_problem(lfn)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exception.ServerConnectionException(), Kind.RETRY),
        (
            exception.RucioException("no error information passed (http status code: 500)"),
            Kind.RETRY,
        ),
        (exception.DuplicateRule(), Kind.DONE),
        (exception.FileAlreadyExists(), Kind.DONE),
        (exception.RuleNotFound(), Kind.GONE),
        (exception.InsufficientAccountLimit(), Kind.OPERATOR),
        (exception.AccessDenied(), Kind.OPERATOR),
        (exception.InvalidObject("x"), Kind.OPERATOR),
        (ConnectionResetError(), Kind.RETRY),
        (TypeError("ours"), None),
    ],
)
def test_errors_of_rucio_have_their_kind(error: Exception, kind: Kind | None) -> None:
    assert kind_of(error) is kind


def test_an_error_says_what_where_and_what_to_do() -> None:
    fault = fault_of(exception.InsufficientAccountLimit(), "rule for D at R", "http://r")
    assert fault is not None
    assert fault.error_class is ErrorClass.PERMANENT
    assert str(fault).startswith("Rucio at http://r: rule for D at R: InsufficientAccountLimit")
    assert "raise the account's limit" in str(fault)


def test_settings_name_what_is_lacking(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="auth = 'oidc' needs token_file"):
        settings(tmp_path, auth="oidc")
    with pytest.raises(DriverError, match="archive_metadata needs archive_evidence"):
        settings(tmp_path, archive_metadata={"a": "b"})
    with pytest.raises(DriverError, match="begins with http"):
        settings(tmp_path, server="rucio.example.org")
    with pytest.raises(DriverError, match="HERE has no section 'rucio'"):
        rucio_settings(facility_info())
    with pytest.raises(DriverError, match="no facility 'X'"):
        settings_at(FakeHost(tmp_path), "X")


def test_facilities_with_the_same_account_share_a_server(tmp_path: Path) -> None:
    here, there = settings(tmp_path), settings(tmp_path, rse="OTHER_DISK")
    assert here.identity() == there.identity()
    assert here.identity() != settings(tmp_path, account="other").identity()


async def test_an_agent_without_the_operations_is_told_how_to_get_them(tmp_path: Path) -> None:
    class OldAgent:
        async def call(self, op: str, args: object, timeout_s: float = 1.0) -> Any:
            raise DriverError(ErrorClass.PERMANENT, f"unknown operation '{op}'; known: ping")

    info = facility_info(butlers={"main": "r"}, settings={"rucio": section(tmp_path)})
    host = FakeHost(tmp_path, {"HERE": info}, {"HERE": OldAgent()})
    butlers = RucioButlers(host, rucio_settings(info), "main")
    with pytest.raises(DriverError, match='set `agent = "rucio"` in the configuration of HERE'):
        await butlers.not_arrived("HERE", [("a", 1)])


async def test_hints_take_nothing_from_messages_but_that_something_happened() -> None:
    woken = 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    broker = StompSettings(host="h", destination="/topic/x")
    hints = StompHints(broker, asyncio.get_running_loop(), wake)
    done = json.dumps({"event_type": "transfer-done", "payload": {}})
    for body in (done, done, '{"event_type": "lost-and-found"}', "no JSON", "[]", ""):
        hints.take(body)
    await asyncio.sleep(0)
    assert (woken, hints.heard) == (2, 2)


class OneDataset:
    """A server with datasets by name: None, or whether it is open and what is in it."""

    def __init__(self, **datasets: tuple[bool, dict[str, Known]]) -> None:
        self.datasets = {f"Dataset/c/s/g/FrDF/{n}": told for n, told in datasets.items()}
        self.calls: list[str] = []

    async def dataset(self, name: str) -> Any:
        return {"open": self.datasets[name][0]} if name in self.datasets else None

    async def content(self, name: str) -> Any:
        return self.datasets[name][1]

    async def add_dataset(self, name: str) -> None:
        self.calls.append(name)

    async def add_container(self, name: str) -> None:
        self.calls.append(name)

    async def attach(self, name: str, children: list[str]) -> None:
        self.calls.append(f"{name} <- {children[0]}")


def declarer(directory: Path, server: Any, **changes: Any) -> Declarer:
    return Declarer(
        movement(campaign="c", step="s", group="g"),
        None,  # type: ignore[arg-type]
        server,
        settings(directory, **changes),
        Declarations(directory),
        Meter(),
    )


async def test_a_closed_dataset_takes_no_more_and_the_next_generation_does(tmp_path: Path) -> None:
    from cmd_rucio_butler.declaring import Declaration

    server = OneDataset(keep=(False, {"a": Known(1, "x")}))
    made = Declaration()
    await declarer(tmp_path, server)._dataset(made, LINK, {"u1"})
    assert made.dataset == "Dataset/c/s/g/FrDF/keep.2"
    assert server.calls[0] == made.dataset
    assert f"Container/c/s <- {made.dataset}" in server.calls


def test_zips_have_the_same_members_whatever_has_been_moved(tmp_path: Path) -> None:
    items = [
        Item(f"u{n}", "x_log" if n else "calexp", {}, run, file="f", size=10)
        for run in ("r1", "r2")
        for n in range(6)
    ]
    link = Link("FrDF", "USDF", items)
    some = declarer(tmp_path, None, bundle=["*_log"], bundle_members=2)
    shares = [[(i.run, i.uuid) for i in share] for share in some._shares(link)]
    assert [len(share) for share in shares] == [2, 2, 1, 2, 2, 1]
    assert all(len({run for run, _ in share}) == 1 for share in shares)
    items.reverse()
    assert [[(i.run, i.uuid) for i in share] for share in some._shares(link)] == shares
