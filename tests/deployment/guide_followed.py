"""The deployment guide followed word for word on a fresh Debian, and the service put to the test there:

    python -m pytest tests/deployment/guide_followed.py

Root only; run on demand, because it takes minutes.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fresh_debian import CommandFailed, FreshDebian, settled
from services.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "deployment.md"
DEPLOY = ROOT / "deploy"
PASSWORD = "c0rrect-horse-battery"
EXPOSURE = re.compile(r"exposure level for cmd-daemon.service: ([\d.]+)")

CAMPAIGN = """\
campaign: night
owner: alice
stack: w_2026_46
butler: {repo: dp2, inputs: [raw], output: u/alice/night}
facilities: [USDF]
steps:
  look:
    split: {by: tract, ranges: ["1..2"]}
    before: [{script: look.sh}]
"""
SCRIPT = "#!/bin/sh\nsleep 8\necho $CMD_KEY >> /data/cmd/ledger\n"

pytestmark = pytest.mark.timeout(1500)


def steps() -> dict[str, list[str]]:
    """The commands of root in the guide, without their comments, by the heading above them."""
    found: dict[str, list[str]] = {}
    heading = ""
    for part in re.split(r"^(## .*)$", GUIDE.read_text(), flags=re.MULTILINE):
        if part.startswith("## "):
            heading = part.removeprefix("## ")
        for block in re.findall(r"```console\n(.*?)```", part, re.DOTALL):
            lines = [line for line in block.splitlines() if line.startswith("# ")]
            found.setdefault(heading, []).extend(
                re.split(r"\s{2,}# ", line[2:])[0] for line in lines
            )
    return found


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreshDebian]:
    """A machine on which the guide has been followed to its end."""
    place = tmp_path_factory.mktemp("deployment")
    wheel = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([sys.executable, *wheel, place, ROOT], check=True)
    machine = FreshDebian(place)
    try:
        machine.start()
        machine.run("useradd --create-home alice && useradd --create-home bob")
        machine.copy([*place.glob("*.whl"), *DEPLOY.glob("requirements.lock")])
        machine.copy([DEPLOY / "cmd-daemon.service", DEPLOY / "cmd-daemon.toml"])
        follow(machine)
        yield machine
    finally:
        machine.end()


def follow(machine: FreshDebian) -> None:
    """Do what the guide says, in its order; where it says "edit", what a site would."""
    for heading, commands in steps().items():
        for command in commands:
            if "cmd-daemon check" in command:
                edit(machine)
            said = machine.run(command, typed=f"{PASSWORD}\n" if "/dev/stdin" in command else "")
            print(f"{heading}: {command}\n{said}")


def edit(machine: FreshDebian) -> None:
    """A site's own configuration: one facility, a database of PostgreSQL on this machine, a free port."""
    port = free_port()
    machine.write("/etc/postgresql-common/createcluster.conf", "create_main_cluster = false\n")
    machine.run("apt-get install --yes --no-install-recommends postgresql")
    machine.run(f"pg_createcluster --port {port} --start 15 main")
    machine.run(
        f"runuser --user postgres -- psql --port {port} --command "
        f"\"CREATE ROLE cmd LOGIN PASSWORD '{PASSWORD}'\""
    )
    create = "createdb --owner cmd --encoding UTF8 --template template0 cmd"
    machine.run(f"runuser --user postgres -- {create} --port {port}")
    text = (DEPLOY / "cmd-daemon.toml").read_text().partition("# --- FrDF")[0]
    for former, new in (
        ('metrics = "127.0.0.1:9464"', f'metrics = "127.0.0.1:{free_port()}"'),
        ('# database = "postgresql+asyncpg://cmd@db.example.org:5432/cmd?ssl=verify-full"',
         f'database = "postgresql+asyncpg://cmd@127.0.0.1:{port}/cmd"'),
        ("# database_password_file", "database_password_file"),
    ):  # fmt: skip
        assert former in text
        text = text.replace(former, new)
    machine.write("/etc/cmd-daemon/cmd-daemon.toml", text)


def shown(machine: FreshDebian, field: str) -> str:
    """A property of the running unit."""
    return machine.run(f"systemctl show --property {field} --value cmd-daemon").strip()


def alice(machine: FreshDebian, command: str) -> str:
    """What a pilot's command prints."""
    return machine.run(f"runuser --login alice --command '{command}'")


def test_it_runs_shut_in_as_a_user_of_its_own(machine: FreshDebian) -> None:
    assert shown(machine, "ActiveState") == "active"
    assert shown(machine, "StatusText") == "0 campaigns"
    pid = shown(machine, "MainPID")
    assert machine.run(f"ps -o user= -p {pid}").strip() == "cmd-daemon"
    assert "CapEff:\t0000000000000000" in machine.run(f"cat /proc/{pid}/status")
    exposure = EXPOSURE.search(machine.run("systemd-analyze security cmd-daemon"))
    assert exposure is not None
    print(f"exposure {exposure[1]} of 10")
    assert float(exposure[1]) < 2


def test_who_is_in_its_group_may_use_it_and_nobody_else(machine: FreshDebian) -> None:
    assert "postgresql" in alice(machine, "cm daemon")
    refused = machine.run("runuser --login bob --command 'cm daemon'", code=6)
    assert "may not open" in refused, refused
    assert "the group 'cmd-daemon'" in refused, refused


def test_the_password_is_nowhere_to_be_seen(machine: FreshDebian) -> None:
    pid = shown(machine, "MainPID")
    seen = machine.run("journalctl --no-pager; systemctl show cmd-daemon; cm daemon")
    seen += machine.run(f"tr '\\0' '\\n' < /proc/{pid}/environ; tr '\\0' ' ' < /proc/{pid}/cmdline")
    assert "cmd-daemon" in seen
    assert PASSWORD not in seen


def test_a_job_outlives_a_restart_of_the_service(machine: FreshDebian) -> None:
    machine.write("/home/alice/night.yaml", CAMPAIGN)
    machine.write("/data/cmd/scripts/look.sh", SCRIPT)
    machine.run("chmod --recursive go+rX,a+x /data/cmd/scripts")
    alice(machine, "cm apply night.yaml --start")
    settled(machine, "ps -C sleep -o args=", "sleep 8")
    former = shown(machine, "MainPID")
    machine.run("systemctl restart cmd-daemon")
    assert shown(machine, "MainPID") != former
    assert "sleep 8" in machine.run("ps -C sleep -o args="), "the job went with the daemon"
    settled(machine, "cm show night", "ACCEPTED")
    ledger = machine.run("cat /data/cmd/ledger").split()
    assert len(ledger) == len(set(ledger)) == 2, ledger


def test_what_dies_or_freezes_is_started_again(machine: FreshDebian) -> None:
    machine.run("systemctl kill --signal KILL cmd-daemon --kill-who main")
    settled(machine, "systemctl show --property NRestarts cmd-daemon", "NRestarts=1")
    settled(machine, "systemctl is-active cmd-daemon", "active\n")
    quick = "/etc/systemd/system/cmd-daemon.service.d/watchdog.conf"
    machine.write(quick, "[Service]\nWatchdogSec=4\n")
    machine.run("systemctl daemon-reload && systemctl restart cmd-daemon")
    former = shown(machine, "MainPID")
    machine.run(f"kill -STOP {former}")
    settled(machine, "journalctl --unit cmd-daemon --no-pager", "Watchdog timeout")
    settled(machine, "systemctl is-active cmd-daemon", "active\n")
    assert shown(machine, "MainPID") != former
    machine.run(f"rm {quick} && systemctl daemon-reload && systemctl restart cmd-daemon")
    assert "ACCEPTED" in alice(machine, "cm show night")


def test_a_reload_takes_a_facility_in_without_a_restart(machine: FreshDebian) -> None:
    former = shown(machine, "MainPID")
    file = machine.root / "etc/cmd-daemon/cmd-daemon.toml"
    more = '\n[facility.LOCAL]\nslots = 2\nmemory = "2 GB"\ncores = 1\nbutlers = {}\nstacks = {}\n'
    file.write_text(file.read_text() + more + 'drivers = { script = "local" }\n')
    machine.run("cmd-daemon check --config /etc/cmd-daemon/cmd-daemon.toml")
    machine.run("systemctl reload cmd-daemon")
    settled(machine, "cm facilities", "LOCAL")
    assert shown(machine, "MainPID") == former


def test_a_password_that_is_not_there_is_told_by_the_unit(machine: FreshDebian) -> None:
    machine.run("mv /etc/cmd-daemon/database /root/database")
    with pytest.raises(CommandFailed):
        machine.run("systemctl restart cmd-daemon")
    assert "243/CREDENTIALS" in machine.run("journalctl --unit cmd-daemon --no-pager")
    machine.run("mv /root/database /etc/cmd-daemon/database && systemctl restart cmd-daemon")


def test_it_stops_when_told_to(machine: FreshDebian) -> None:
    machine.run("systemctl stop cmd-daemon")
    assert shown(machine, "ActiveState") == "inactive"
    assert shown(machine, "ExecMainStatus") == "0"
    assert shown(machine, "Result") == "success"


def test_without_drop_ins_it_runs_on_sqlite_as_a_user_made_for_it(machine: FreshDebian) -> None:
    machine.run(
        "systemctl stop cmd-daemon && rm --recursive /etc/systemd/system/cmd-daemon.service.d"
    )
    machine.run("install --mode 0644 cmd-daemon.toml /etc/cmd-daemon/cmd-daemon.toml")
    metrics = f"s/127.0.0.1:9464/127.0.0.1:{free_port()}/"
    machine.run(f"sed --in-place {metrics} /etc/cmd-daemon/cmd-daemon.toml")
    machine.run("rm --recursive /var/lib/cmd-daemon")
    machine.run("systemctl daemon-reload && systemctl start cmd-daemon")
    assert "sqlite" in machine.run("cm daemon")
    assert machine.run("stat --format %F /var/lib/cmd-daemon").strip() == "symbolic link"
