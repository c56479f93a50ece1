"""SIGHUP: the facilities of a real daemon are read again while it works; a bad file changes nothing."""

import signal
from pathlib import Path

import pytest
from daemon_process import CAMPAIGN, SCRIPT, DaemonProcess, until
from google.protobuf.json_format import MessageToDict

WAITING = (
    "echo $CMD_KEY >> $LEDGER\\nwhile ! test -e {gate}; do sleep 0.05; done\\n"
    "echo $CMD_KEY >> $LEDGER.done\\n"
)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that the scripts of these tests wait for."""
    return tmp_path / "gate"


def told(daemon: DaemonProcess, words: str, times: int = 1) -> None:
    """Wait until the log has said so often."""
    until(lambda: daemon.log().count(words) >= times, f"{words!r}; log:\n{daemon.log()[-3000:]}")


def reload(daemon: DaemonProcess, *changes: tuple[str, str]) -> None:
    """Change the configuration, and say so."""
    text = daemon.config.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    daemon.config.write_text(text)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)


def slots(daemon: DaemonProcess, facility: str = "USDF") -> int:
    """The slots of a facility, as a client sees them."""
    with daemon.client() as client:
        return int(MessageToDict(client.get_facility(f"facilities/{facility}"))["slots"])


def test_limits_and_drivers_are_read_again_while_attempts_run(
    daemon: DaemonProcess, tmp_path: Path, gate: Path
) -> None:
    daemon.config.write_text(daemon.config.read_text().replace("slots = 4", "slots = 1"))
    daemon.start()
    daemon.apply(4, WAITING.format(gate=gate))
    until(lambda: daemon.ledger().total() == 1)
    first = set(daemon.ledger())
    reload(
        daemon,
        ("slots = 1", "slots = 3"),
        (f'LEDGER = "{tmp_path}/ledger"', f'LEDGER = "{tmp_path}/second"'),
    )
    told(daemon, "the configuration is reloaded")
    assert slots(daemon) == 3
    second = tmp_path / "second"
    until(lambda: second.exists() and len(second.read_text().split()) == 2)
    reload(daemon)
    told(daemon, "the configuration is reloaded", 2)
    gate.touch()
    until(lambda: daemon.state() == "ACCEPTED", f"ACCEPTED; log:\n{daemon.log()[-3000:]}")
    assert daemon.stop() == 0
    daemon.history()
    ran = [*daemon.ledger().elements(), *second.read_text().split()]
    assert len(ran) == len(set(ran)) == 9, ran
    assert set(daemon.ledger()) == first, "the new settings do not hold"
    assert daemon.supervised().total() == 9
    assert "byte for byte" in daemon.command("replay", "crash")


def test_a_facility_that_is_new_takes_work(daemon: DaemonProcess, tmp_path: Path) -> None:
    daemon.start()
    text = daemon.config.read_text()
    section = text[text.index("[facility.USDF]") :].replace("USDF", "FrDF")
    daemon.add(section.replace(f"{tmp_path}/world", f"{tmp_path}/french"))
    reload(daemon)
    told(daemon, "the configuration is reloaded")
    assert slots(daemon, "FrDF") == 4
    with daemon.client() as client:
        client.drain_facility("facilities/USDF", reason="water")
        campaign = CAMPAIGN.format(groups=1, script=SCRIPT).replace("[USDF]", "[USDF, FrDF]")
        client.apply_campaign(campaign, start=True)
    until(lambda: daemon.state() == "ACCEPTED", f"ACCEPTED; log:\n{daemon.log()[-3000:]}")
    assert daemon.stop() == 0
    records = daemon.history()
    assert {r.facility for r in records if r.kind == "job" and r.facility} == {"FrDF"}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("slots = 4", 'slots = "many"', "facility.USDF.slots"),
        ("slots = 4", "slots = 4\nspeed = 9", "facility.USDF.speed"),
        ("[facility.USDF]", "[facility.USDF", "not TOML"),
        ('script = "local"', 'script = "nobody"', "facility.USDF.drivers"),
        ("poll_s = 0.05", 'poll_s = "often"', "facility.USDF.settings.fake"),
        ("facility.USDF", "facility.FrDF", "facility.USDF: is gone.* needs a restart"),
    ],
)
def test_a_bad_file_changes_nothing_and_is_told(
    daemon: DaemonProcess, old: str, new: str, why: str
) -> None:
    daemon.start()
    good = daemon.config.read_text()
    reload(daemon, (old, new))
    told(daemon, "the configuration is not reloaded, nothing has changed")
    line = daemon.log().partition("the configuration is not reloaded")[2]
    for word in why.split(".* "):
        assert word in line
    assert str(daemon.config) in line
    assert slots(daemon) == 4
    daemon.config.write_text(good)
    reload(daemon, ("slots = 4", "slots = 5"))
    told(daemon, "the configuration is reloaded")
    assert slots(daemon) == 5
    assert daemon.stop() == 0


def test_what_is_not_reloaded_is_named(daemon: DaemonProcess) -> None:
    daemon.start()
    reload(daemon, ("[daemon]", "[daemon]\nprobe_s = 7"))
    told(daemon, "the configuration is reloaded")
    assert "needs_restart=['daemon']" in daemon.log()
    assert daemon.stop() == 0
