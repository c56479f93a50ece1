"""The full chain with Rucio as the mover, as its users run it: the daemon, three Butlers, a real Rucio."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from chain_process import FACILITIES, Chain, moving

HOME, FAR = "USDF", "UKDF"


class RucioChain(Chain):
    """A run of the small full chain with a Rucio of its own."""

    mover = "rucio"

    def __init__(self, place: Path) -> None:
        super().__init__(place, "--rucio")
        self.patience_s = 900.0


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[RucioChain]:
    """The chain while it runs."""
    made = RucioChain(tmp_path)
    yield made
    made.stop()


@pytest.mark.timeout(2400)
def test_through_rucio_and_a_killed_daemon_the_chain_agrees_with_the_truth(
    chain: RucioChain,
) -> None:
    """The daemon is killed while UKDF's coadds are on their way: the campaign is accepted all the same,
    the Butlers and Rucio agree by UUID, and nothing was made twice."""
    chain.wait_for_orders(moving(FAR, "coadd"), f"movement of {FAR}'s outputs")
    chain.kill_daemon()
    assert chain.end() == 0, chain.text()
    said = chain.text()
    assert "The result agrees with the truth." in said
    assert "full-chain is ACCEPTED" in said
    assert re.search(r"^ok +in Rucio +[1-9]", said, re.MULTILINE), said
    assert not re.search(r"^BAD", said, re.MULTILINE), said
    assert (chain.work / "report.html").stat().st_size > 10_000

    rucio = json.loads((chain.work / "rucio.json").read_text())
    ways = {tuple(each["name"].split("/")[4:]) for each in rucio["datasets"]}
    afar = [name for name in FACILITIES if name != HOME]
    assert ways == {
        *((name, movement) for name in afar for movement in ("gather", "keep")),
        *((HOME, f"scatter-{name}") for name in afar),
        *((name, "archive") for name in FACILITIES),
    }
    assert {len(each["rules"]) for each in rucio["datasets"]} == {1}
    kinds = {each["name"].split("/")[5]: set[str]() for each in rucio["datasets"]}
    for each in rucio["datasets"]:
        kinds[each["name"].split("/")[5]] |= {file["kind"] for file in each["files"]}
    assert kinds["gather"] == kinds["archive"] == {"zip_file"}
    assert kinds["keep"] == {"data_product"}


@pytest.mark.timeout(900)
def test_ctrl_c_takes_the_rucio_down_too(chain: RucioChain) -> None:
    """Database, broker, server, daemons and transfers are gone with the run, and so is the database's
    directory."""
    chain.wait_for(lambda: chain.daemon() is not None, "a daemon beside a Rucio")
    started = psutil.Process(chain.process.pid).children(recursive=True)
    words = [each.cmdline() for each in started]
    assert {"postgres", "java", "gunicorn"} <= {each.name() for each in started}
    (data,) = {each[each.index("-D") + 1] for each in words if "-D" in each}
    os.kill(chain.process.pid, signal.SIGINT)
    assert chain.end() == 130, chain.text()
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []
    assert not Path(data).parent.exists()
