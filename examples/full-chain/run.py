"""Runs the full chain: six tracts at three facilities, from counts to coadds that came home.

`python examples/full-chain/run.py [--small] [--rucio | --panda | --standby] [--workdir DIR]`, in the daemon's
environment. It makes the three repositories, starts the daemon (and starts it again when it dies, as
systemd would) and the ssh server through which UKDF is reached, applies the campaign, watches it, signs
its breakpoint and checks the result against the truth. Ctrl-C stops it and harms nothing: the next run
goes on. Exit status 0 if the campaign was ACCEPTED and everything agrees. With `--serve` it only runs
daemon and server of a former run, to look around. With `--rucio` a Rucio of its own moves everything
(`rucio_chain.py`); such a run always begins anew. With `--panda` a PanDA of its own runs everything
(`panda_chain.py`). With `--standby` the database is in PostgreSQL, and the leader of two daemons is taken
away twice (`standby_chain.py`); such a run too begins anew.
"""

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "demo"))

from panda_chain import PandaOfChain, tell_of_failed_job  # noqa: E402
from running import (  # noqa: E402
    PIPELINE,
    ROOT,
    RUBIN,
    SKY,
    Client,
    DemoFailed,
    ended,
    kept_daemon,
    rubin,
    say,
    socket_in,
)
from ssh_server import SshServer  # noqa: E402
from standby_chain import StandbyOfChain  # noqa: E402

if TYPE_CHECKING:
    from rucio_chain import RucioOfChain

CAMPAIGN = "full-chain"
COLLECTION = ("--collection", f"DemoCam/runs/{CAMPAIGN}")
TRACTS = 6
SMALL = ("--visits", "12", "--detectors", "2", "--seed", "2028")
"""The smallest sky: one visit a pointing. With this seed the stars link all of them well."""
VARIANTS = ("rucio", "panda", "standby")
WAITS = 5
"""Exit status of `cm watch` when something waits for a person."""
FAR = "UKDF"
"""The facility that is reached over ssh."""
RAWS = {"USDF": (), "FrDF": (3, 4), "UKDF": (5, 6)}
"""The tracts whose raw exposures each facility has received; USDF has all of them."""

DAEMON = """\
[daemon]
state_dir = "{work}/state"
socket = "{socket}"{database}
plugins = ["local", "facility", "housekeeping"{plugins}]
probe_s = 5
"""

FACILITY = """
[facility.{name}]
slots = 2
memory = "4 GB"
cores = 2
walltime = "1 h"
agent = "{agent}"
transport = "{way}"
butlers = {{ demo = "{place}/repo" }}
stacks = {{ w_2026_05 = "{rubin}" }}
links = {{}}
storage = {{ work = "{place}/work", landing = "{place}/repo" }}

[facility.{name}.queues.small]
slots = 2
memory = "2 GB"
walltime = "1 h"

[facility.{name}.queues.large]
slots = 1
memory = "4 GB"
cores = 2
walltime = "1 h"

[facility.{name}.drivers]
process = "{driver}"
script = "{driver}"
collect = "butler"
register = "{mover}"
transfer = "{mover}"
ingest = "{mover}"
bundle = "{mover}"
purge = "{mover}"

[facility.{name}.settings.{way}]
work_dir = "{place}/work"
scripts_dir = "{here}/scripts"

[facility.{name}.settings.{way}.env]
REPO = "{place}/repo"

[facility.{name}.settings.{way}.pipeline_env]
DEMO_PIPE_DIR = "{pipeline}"
PYTHONPATH = "{pipeline}"
OMP_NUM_THREADS = "1"

[facility.{name}.settings.agent.env]
OMP_NUM_THREADS = "1"
"""

TAPE = """
[facility.USDF.settings.mover.tape]
USDF_TAPE = "{work}/USDF/tape"
"""

SSH = """\
host = "127.0.0.1"
port = {port}
user = "{user}"
known_hosts = "{known_hosts}"
key = "{key}"
python = "{rubin}"
poll_s = 1
backoff_max_s = 2
"""


def configuration(
    work: Path,
    socket: Path,
    server: SshServer,
    rucio: "RucioOfChain | None" = None,
    panda: PandaOfChain | None = None,
    database: str = "",
) -> str:
    """The daemon's configuration: three facilities, the last one reached over ssh. `database` is its
    URL, "" for the SQLite file of `state_dir`."""
    plugins = "" if rucio is None else ', "rucio_butler"'
    plugins += "" if panda is None else ', "panda"'
    agent, mover = ("butler", "mover") if rucio is None else ("rucio", "rucio")
    line = f'\ndatabase = "{database}"' if database else ""
    text = DAEMON.format(work=work, socket=socket, plugins=plugins, database=line)
    for name in RAWS:
        way = "ssh" if name == FAR else "local"
        part = FACILITY.format(
            name=name,
            way=way,
            driver=way if panda is None else "panda",
            agent=agent,
            mover=mover,
            place=work / name,
            rubin=RUBIN,
            here=HERE,
            pipeline=PIPELINE,
        )
        if way == "ssh":
            section = SSH.format(
                port=server.port,
                user=server.user,
                known_hosts=server.known_hosts,
                key=server.key,
                rubin=RUBIN,
            )
            head = f"[facility.{name}.settings.{way}]\n"
            part = part.replace(head, head + section)
        text += part if rucio is None else part + rucio.section(name)
        text += "" if panda is None else panda.section(name, HERE / "scripts")
    return text + TAPE.format(work=work) if rucio is None else text


def make_sky(work: Path, small: bool) -> None:
    """Make the three repositories side by side. Raises DemoFailed."""
    size = ["--tracts", str(TRACTS), *(SMALL if small else [])]
    making = []
    for name, tracts in RAWS.items():
        (work / name / "work").mkdir(parents=True, exist_ok=True)
        words = [RUBIN, SKY / "make_sky.py", "--repo", work / name / "repo", *size]
        words += ["--truth", work / name / "truth.json"]
        if tracts:
            words += ["--raws-of-tracts", ",".join(map(str, tracts))]
        making.append(subprocess.Popen(words))
    statuses = [process.wait() for process in making]
    if any(statuses):
        raise DemoFailed("the sky could not be made")


def prepare(
    work: Path,
    small: bool,
    server: SshServer,
    rucio: "RucioOfChain | None" = None,
    panda: PandaOfChain | None = None,
    pair: StandbyOfChain | None = None,
) -> Client:
    """Everything the daemon needs: the repositories, the configuration, with `rucio`, `panda` and `pair`
    also what these need, running. Returns the client."""
    # A Rucio or a PostgreSQL ends with its run, and what it knew with it: nobody could go on.
    kept = rucio is None and pair is None
    marks = ("finished",) if kept else ("finished", "cmd-daemon.toml", "rucio/rse")
    if any((work / mark).exists() for mark in marks):
        kept_daemon(work).end_former()
        shutil.rmtree(work)
    (work / "fail-once").mkdir(parents=True, exist_ok=True)
    say(
        "the sky: three Butler repositories; USDF holds all raws, the others those of two tracts each"
    )
    make_sky(work, small)
    server.prepare()
    if rucio is not None:
        say("a Rucio: server, database, daemons, transfers, messages")
        rucio.start()
    if panda is not None:
        say("a PanDA: server, iDDS, and pilots on this machine")
        panda.prepare()
        panda.start()
    if pair is not None:
        say("a PostgreSQL, for two daemons")
        url = pair.prepare()
        pair.write(lambda socket: configuration(work, socket, server, database=url))
        return pair.client()
    socket = socket_in(work)
    (work / "cmd-daemon.toml").write_text(configuration(work, socket, server, rucio, panda))
    return Client(socket)


def watch(client: Client, stay: bool) -> int:
    """Watch until the end and sign the breakpoint on the way, as a person would; the exit status of
    `cm watch`. With `stay` groups that wait for a person are left to one, else they end it.
    """
    while True:
        status = client.patient("watch", CAMPAIGN, "--exit-on-hold")
        if status != WAITS:
            return status
        waiting = breakpoints(client)
        for step in waiting:
            sign(client, step)
        if not waiting and not stay:
            return status
        time.sleep(0 if waiting else 1)


def breakpoints(client: Client) -> list[str]:
    """The breakpoints that wait for a signature, as names for `cm`."""
    steps = client.told("steps", CAMPAIGN) or []
    return [
        "/".join(step["name"].split("/")[1::2]) for step in steps if step["state"] == "STATE_REVIEW"
    ]


def sign(client: Client, step: str) -> None:
    """Sign a breakpoint after showing what it asks. A person would look first; the truth is checked
    at the end."""
    say(f"the breakpoint: cm why {step}")
    client.patient("why", step)
    reason = "a simulated sky: the zero points are checked against the truth at the end"
    client.patient("sign", step, "--reason", reason)


def run(work: Path, given: argparse.Namespace) -> int:
    """Run the chain; returns its exit status. Raises DemoFailed."""
    began = time.monotonic()
    server = SshServer(work / FAR / "sshd", given.ssh_pause, given.stand_in)
    rucio = rucio_of(work) if given.rucio else None
    panda = PandaOfChain(work) if given.panda else None
    pair = StandbyOfChain(work, CAMPAIGN) if given.standby else None
    daemon = kept_daemon(work) if pair is None else pair
    try:
        client = prepare(work, given.small, server, rucio, panda, pair)
        where = (
            "daemon: SQLite and a Unix socket" if pair is None else "daemons, with a socket each"
        )
        say(f"the ssh server of {FAR}, and the {where}")
        server.start()
        daemon.start()
        client.wait()
        apply(work, client)
        watched = watch(client, given.stay)
        if pair is not None:
            client = pair.tell()
        tell(client)
        if panda is not None:
            tell_of_failed_job(client, f"{CAMPAIGN}/calibrate")
        if watched != 0:
            client.run("why", CAMPAIGN)
            raise DemoFailed(f"the campaign is {client.fate(CAMPAIGN)}, not ACCEPTED")
        check(work, rucio)
        report(work, client, f"make {target_of(given)}")
        (work / "finished").touch()
    finally:
        daemon.stop()
        server.stop()
        if rucio is not None:
            rucio.stop()
        if panda is not None:
            panda.stop()
    say(f"{CAMPAIGN} is ACCEPTED and agrees with the truth, in {time.monotonic() - began:.0f} s")
    return 0


def target_of(given: argparse.Namespace) -> str:
    """The target of `make` that runs the chain like this."""
    chosen = [name for name in VARIANTS if getattr(given, name)]
    return "-".join(["demo", *chosen])


def rucio_of(work: Path) -> "RucioOfChain":
    """The Rucio that moves everything. Raises DemoFailed if its clients are not installed."""
    try:
        from rucio_chain import RucioOfChain  # the Rucio clients are not everybody's
    except ImportError as error:
        raise DemoFailed(f"{error}: run `make demo-rucio`, which installs all it needs") from error
    return RucioOfChain(work, tuple(RAWS))


def apply(work: Path, client: Client) -> None:
    """Hand in the campaign, or go on with that of a former run. Raises DemoFailed."""
    former = client.fate(CAMPAIGN)
    if former == "ACCEPTED":
        say("the campaign has come to its end already")
        return
    if former and former not in ("DRAFT", "RUNNING", "PAUSED"):
        raise DemoFailed(f"campaign {CAMPAIGN} is {former}: remove {work} to begin anew")
    say("going on with the campaign" if former else f"the campaign: cm apply {CAMPAIGN}")
    settings = ["--set", f"FAIL_ONCE={work / 'fail-once'}"]
    if client.patient("apply", str(HERE / "full-chain.yaml"), *settings, "--start") != 0:
        raise DemoFailed("the campaign was refused")


def tell(client: Client) -> None:
    """What a person would ask at the end."""
    say("the report: cm status")
    client.patient("status", CAMPAIGN)
    say("the facilities: cm facilities")
    client.patient("facilities")
    say("where the tracts went, and why one of them went there: cm why")
    client.patient("why", f"{CAMPAIGN}/inputs/3")
    for step in ("global-calibration", "coadd"):
        say(f"from Butler to Butler: cm nexus {CAMPAIGN}/{step}")
        client.patient("nexus", f"{CAMPAIGN}/{step}")


def check(work: Path, rucio: "RucioOfChain | None" = None) -> None:
    """Compare everything with the truth, and the disks with what should be there. Raises DemoFailed."""
    say("the check against the truth, at USDF")
    rubin(SKY / "check_truth.py", *at_home(work), "--out", work / "truth-check.json")
    say("the check of what was returned, archived and discarded")
    places = [f"{name}={work / name / 'repo'}" for name in RAWS]
    if rucio is None:
        tape = ["--tape", work / "USDF" / "tape"]
        rubin(HERE / "check_chain.py", *COLLECTION, *tape, *places)
    else:
        rubin(HERE / "check_rucio.py", *COLLECTION, "--rucio", rucio.tell(CAMPAIGN), *places)


def at_home(work: Path) -> list[str | Path]:
    """The results at USDF and their truth, as options of the programs that look at them."""
    home = work / "USDF"
    return ["--repo", home / "repo", *COLLECTION, "--truth", home / "truth.json"]


def report(work: Path, client: Client, made_by: str) -> None:
    """Make the HTML report. Raises DemoFailed."""
    page, pictures = work / "report.html", work / "pictures.json"
    say(f"the HTML report: {page}")
    rubin(HERE / "report" / "pictures.py", *at_home(work), "--out", pictures)
    words: list[str | Path] = [sys.executable, HERE / "report" / "make_report.py"]
    words += ["--address", client.address, "--campaign", CAMPAIGN, "--out", page]
    words += ["--pictures", pictures, "--check", work / "truth-check.json"]
    if subprocess.run([*words, "--made-by", made_by], check=False).returncode != 0:
        raise DemoFailed("the report could not be made")


def serve(work: Path) -> int:
    """Run daemon and servers of a former run until Ctrl-C. Raises DemoFailed if there was none."""
    if not (work / "cmd-daemon.toml").exists():
        raise DemoFailed(f"there is no full chain in {work} yet: run `make demo`")
    shown = Path(os.path.relpath(socket_in(work)))
    print(f"the daemon of the full chain, until Ctrl-C: export CM_ADDRESS=unix:{shown}", flush=True)
    server = SshServer(work / FAR / "sshd", 0.0)
    panda = PandaOfChain(work) if (work / "panda").exists() else None
    daemon = kept_daemon(work)
    try:
        server.start()
        if panda is not None:
            panda.start()
        daemon.start()
        threading.Event().wait()
    finally:
        daemon.stop()
        server.stop()
        if panda is not None:
            panda.stop()
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--workdir", type=Path, help="default: build/full-chain[-rucio|-panda|-standby]"
    )
    parser.add_argument("--small", action="store_true", help="the smallest sky, for tests")
    parser.add_argument("--rucio", action="store_true", help="a Rucio of its own moves everything")
    parser.add_argument("--panda", action="store_true", help="a PanDA of its own runs everything")
    parser.add_argument(
        "--standby", action="store_true", help="PostgreSQL, and two daemons whose leader goes away"
    )
    parser.add_argument(
        "--stay", action="store_true", help="go on when a group is held: a person will act"
    )
    parser.add_argument(
        "--ssh-pause",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="how long the ssh server stays away after its death (default: 1)",
    )
    parser.add_argument(
        "--stand-in", action="store_true", help="asyncssh's server even where OpenSSH's is there"
    )
    parser.add_argument("--serve", action="store_true", help="run the daemon of a former run")
    given = parser.parse_args()
    if sum(getattr(given, name) for name in VARIANTS) > 1:
        parser.error("--rucio, --panda and --standby do not go together")
    place = ROOT / "build" / target_of(given).replace("demo", "full-chain")
    work = (given.workdir or place).absolute()
    return ended("full chain", lambda: serve(work) if given.serve else run(work, given))


if __name__ == "__main__":
    sys.exit(main())
