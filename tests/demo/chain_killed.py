"""The full chain as its users run it, with one of everything killed on the way; run on demand, because it
takes minutes:

    python -m pytest tests/demo/chain_killed.py
"""

import json
from collections import Counter
from pathlib import Path

import pytest
from chain_process import FACILITIES, Chain, moving, sent_not_ingested
from readme import readme_commands

FAR = "UKDF"


@pytest.mark.timeout(900)
def test_killed_and_cut_off_the_chain_still_agrees_with_the_truth(tmp_path: Path) -> None:
    """UKDF's ssh server away for 30 s, the daemon killed between sent and ingested, FrDF's agent killed
    in the middle of a movement: the same result, and nothing was done twice."""
    chain = Chain(tmp_path, "--ssh-pause", "30")
    try:
        chain.wait_for(
            lambda: chain.started(FAR, "calibrate") and chain.groups("RUNNING", "calibrate"),
            f"a group of calibrate at {FAR}",
        )
        chain.kill_ssh_server()
        down = {"USDF": True, "FrDF": True, "UKDF": False}
        chain.wait_for(lambda: chain.up() == down, "UKDF being told as down, and UKDF alone")
        chain.wait_for(lambda: chain.accepted_at("USDF", "calibrate"), "USDF goes on without UKDF")
        chain.wait_for(lambda: chain.accepted_at("FrDF", "calibrate"), "FrDF goes on without UKDF")

        chain.wait_for_orders(moving("FrDF", "coadd"), "movement of FrDF's outputs")
        chain.kill_agent("FrDF")
        chain.wait_for_orders(sent_not_ingested, "outputs that have arrived and are not taken in")
        chain.kill_daemon()

        assert chain.end() == 0, chain.text()
    finally:
        chain.stop()

    said = chain.text()
    assert "The result agrees with the truth." in said
    assert "full-chain is ACCEPTED" in said
    assert "the ssh-server died" in said
    assert "the daemon died" in said
    assert (chain.work / "report.html").stat().st_size > 10_000
    for facility in FACILITIES:
        starts = Counter(chain.ledger(facility))
        assert starts, f"the ledger of starts at {facility} is empty"
        assert not [key for key, count in starts.items() if count > 1], f"twice at {facility}"
    failed_once = [key for key in chain.ledger(FAR) if key.endswith("process#2")]
    assert failed_once, "the rescued group was never tried again"
    ask(tmp_path)


def ask(place: Path) -> None:
    """`cm why`, `cm facilities`, `cm nexus` and every command of the README answer for all of a
    finished campaign."""
    chain = Chain(place, "--serve")
    try:
        chain.wait_for(lambda: chain.told("daemon") is not None, "an answer of the daemon")
        groups = sorted(chain.groups("ACCEPTED"))
        assert len(groups) > 25
        for group in groups:
            why = chain.cm("why", f"full-chain/{group}")
            assert why.returncode == 0, why.stderr
            assert "Placed: " in why.stdout, why.stdout
        tried = [command for command in readme_commands() if command.startswith("cm ")]
        assert len(tried) >= 6
        for command in tried:
            shown = chain.cm(*command.split()[1:])
            assert shown.returncode == 0, f"{command}: {shown.stderr}"
            assert shown.stdout.strip(), f"{command} says nothing"
        looked = chain.cm("facilities")
        assert looked.returncode == 0, looked.stderr
        assert all(name in looked.stdout for name in FACILITIES)
        nexus = chain.cm("nexus", "full-chain/global-calibration", "--json")
        assert nexus.returncode == 0, nexus.stderr
        scattered = [
            each for each in json.loads(nexus.stdout)["entries"] if each["movement"] == "scatter"
        ]
        assert {each["destination"] for each in scattered} == {
            "facilities/FrDF",
            "facilities/UKDF",
        }
        assert all(int(each["not_for_here"]) > 0 for each in scattered), "nothing was left out"
    finally:
        chain.stop()
