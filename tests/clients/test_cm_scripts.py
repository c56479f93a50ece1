"""`cm run-script` through a real daemon: once, followed, with the script's own exit code."""

import json
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from client_setup import Cm
from cmd_api.v1.facility_pb2 import Facility
from daemon_process import DaemonProcess, until

from cm_cli.scripts import Ended, Order, campaign_file
from cm_client import Client


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """One daemon for all of these; its facility has one script of its own."""
    made = DaemonProcess(tmp_path_factory.mktemp("scripts"))
    own = made.root / "scripts"
    own.mkdir()
    tidy = own / "tidy.sh"
    tidy.write_text('#!/bin/sh\necho "tidies $1 at $CMD_FACILITY"\n')
    tidy.chmod(tidy.stat().st_mode | stat.S_IXUSR)
    lines = made.config.read_text().replace(
        "[facility.USDF.settings.local]\n",
        f'[facility.USDF.settings.local]\nscripts_dir = "{own}"\n',
    )
    made.config.write_text(lines)
    made.start()
    yield made
    assert made.stop() == 0
    made.end()


@pytest.fixture
def cm(living: DaemonProcess) -> Cm:
    return Cm(living.target)


@pytest.fixture
def script(tmp_path: Path) -> Any:
    """Writes a script; its path."""

    def write(text: str) -> str:
        path = tmp_path / "script.sh"
        path.write_text(text)
        return str(path)

    return write


def campaigns(living: DaemonProcess, **more: Any) -> dict[str, str]:
    """States of all campaigns by name."""
    with Client(living.target) as client:
        return {
            each.name.partition("/")[2]: type(each).State.Name(each.state)[6:]
            for each in client.campaigns(**more)
        }


def test_a_local_file_travels_runs_once_and_is_put_away(
    cm: Cm, living: DaemonProcess, script: Any
) -> None:
    path = script(
        'echo "says ${1-none} {x} $2 $WORD"\necho "$CMD_KEY" >> $LEDGER\necho \'{"n": 3}\'\n'
    )
    done = cm("run-script", "USDF", path, "a b", "{group}", "--env", "WORD=${y}", "--reason", "why")
    assert done.returncode == 0, done
    assert "says a b {x} {group} ${y}\n" in done.stdout
    assert json.loads(done.stdout.partition('{"n": 3}\n')[2]) == {"n": 3}
    (name,) = campaigns(living, show_archived=True)
    assert name in done.stderr
    assert campaigns(living, show_archived=True)[name] == "ARCHIVED"
    assert set(living.ledger().values()) == {1}
    assert name not in cm.here("list", "--json").stdout
    assert name not in cm.here("status", "--json").stdout
    assert name in cm.here("list", "--all", "--json").stdout


def test_its_exit_code_is_that_of_cm(cm: Cm, living: DaemonProcess, script: Any) -> None:
    done = cm("run-script", "USDF", script("#!/bin/bash\necho going\nexit 7\n"))
    assert done.returncode == 7, done
    assert done.stdout == "going\n"
    assert "FAILED with exit code 7" in done.stderr
    (name,) = [each for each, state in campaigns(living).items() if state == "FAILED"]
    assert name not in cm.here("list", "--json").stdout
    assert name in cm.here("list", "--all", "--json").stdout


def test_a_name_without_a_file_is_one_of_the_facilitys_scripts(cm: Cm) -> None:
    done = cm("run-script", "USDF", "tidy.sh", "--", "--json", "--json")
    assert (done.returncode, done.stdout) == (0, "tidies --json at USDF\n"), done
    done = cm("run-script", "USDF", "nothere.sh")
    assert done.returncode == 1, done
    assert "nothere.sh" in done.stderr
    assert "never ran" in done.stderr


def test_json_is_one_document_and_the_log_goes_aside(cm: Cm, script: Any) -> None:
    done = cm("run-script", "USDF", script("echo log line\necho '{\"files\": 2}'\n"), "--json")
    document = json.loads(done.stdout)
    assert (document["exit_code"], document["result"]) == (0, {"files": 2})
    assert document["state"] == "SUCCEEDED"
    assert "log line" in done.stderr


def test_a_script_that_takes_too_long_is_ended(cm: Cm, script: Any) -> None:
    done = cm("run-script", "USDF", script("exec sleep 60\n"), "--timeout", "1s")
    assert done.returncode not in (0, 130), done
    assert "not done after" in done.stderr


def test_the_log_comes_while_it_runs_and_ctrl_c_leaves_it_running(
    cm: Cm, living: DaemonProcess, script: Any, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    path = script(f"echo first\nwhile [ ! -e {gate} ]; do sleep 0.05; done\necho last\n")
    process = cm.start("run-script", "USDF", path)
    assert process.stdout is not None
    assert process.stdout.readline() == "first\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, out + err
    command = err.partition("Its log: cm ")[2].split("   ")[0]
    following = cm.start(*command.split())
    gate.touch()
    out, err = following.communicate(timeout=20)
    assert following.returncode == 0, err
    assert out == "first\nlast\n"
    name = command.split()[1].partition("/")[0]
    until(lambda: campaigns(living).get(name) == "ACCEPTED", "the end of the script")
    assert name not in cm.here("list", "--json").stdout


def test_what_it_waits_for_is_told_and_a_cancel_ends_it(cm: Cm, script: Any) -> None:
    assert cm.here("drain", "USDF", "--reason", "power").returncode == 0
    try:
        process = cm.start("run-script", "USDF", script("echo ran\n"))
        assert process.stderr is not None
        name = process.stderr.readline().split()[1]
        assert "USDF" in process.stderr.readline()
        assert cm.here("cancel", name, "--reason", "enough").returncode == 0
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (1, ""), err
        assert "CANCELLED" in err
        assert "never ran" in err
    finally:
        assert cm.here("undrain", "USDF").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("run-script", "USDF", "./nothere.sh"),
        ("run-script", "USDF", "x.sh", "--timeout", "soon"),
        ("run-script", "USDF", "x.sh", "--env", "A"),
        ("run-script", "a/b/c", "x.sh"),
    ],
)
def test_wrong_use_changes_nothing(
    cm: Cm, living: DaemonProcess, arguments: tuple[str, ...]
) -> None:
    before = campaigns(living, show_archived=True)
    assert cm.here(*arguments).returncode == 2
    assert campaigns(living, show_archived=True) == before


def test_an_unknown_facility_and_one_without_a_stack(cm: Cm) -> None:
    done = cm.here("run-script", "NONE", "x.sh")
    assert done.returncode == 1
    assert "NONE" in done.stderr
    with pytest.raises(Exception, match="has no stack"):
        campaign_file(Facility(name="facilities/X"), Order("x.sh", (), {}, 1.0), "me", 0.0)


def test_names_tell_when_and_differ() -> None:
    facility = Facility(name="facilities/USDF", stacks=["w1"], butlers={"b": "/b"})
    order = Order("x.sh", ("1",), {}, 60.0)
    first, file = campaign_file(facility, order, "me", 0.0)
    assert first.startswith("script-USDF-19700101T000000-")
    assert json.loads(file)["campaign"] == first
    assert campaign_file(facility, order, "me", 0.0) == (first, file)
    assert campaign_file(facility, order, "me", 0.5)[0] != first
    assert campaign_file(facility, order, "you", 0.0)[0] != first


@pytest.mark.parametrize(
    ("state", "exit_code", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 7, 7),
        ("FAILED", -9, 137),
        ("HELD", None, 1),
        ("FAILED", 0, 1),
    ],
)
def test_exit_codes_as_a_shell_tells_them(state: str, exit_code: int | None, code: int) -> None:
    assert Ended(state, exit_code, "", None).code == code
