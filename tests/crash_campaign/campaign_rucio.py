"""What the rounds with a Rucio take place in: one Rucio and three real Butlers for the whole run, and for
each round a daemon of its own that moves files between them."""

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import campaign_paths  # noqa: F401
from campaign_home import Home
from live_setup import DISK, facilities_of, make_places, roots_of
from rubin_stack import rubin_python
from rucio_site import SCOPE, Site
from rucio_site.books import dataset, names_of
from services.databases import Server

EVERY_S = 0.2
"""Seconds between two rounds of Rucio's daemons."""

BUNDLED = {"USDF": [], "FrDF": ["run_log"], "UKDF": ["run_log", "catalog"]}
"""Dataset types that go as zips, by the facility that sends them."""

CONFIG = """\
[daemon]
state_dir = "{root}/state"
socket = "{socket}"
database = "{database}"
plugins = ["local", "facility", "fakes", "rucio_butler"]
log_format = "console"
"""
FACILITY = """
[facility.{name}]
slots = 8
memory = "8 GB"
cores = 4
agent = "rucio"
butlers = {{ main = "{butler}" }}
stacks = {{ demo = "{python}" }}

[facility.{name}.drivers]
process = "fake"
collect = "null"
register = "rucio"
transfer = "rucio"
ingest = "rucio"

[facility.{name}.settings.agent]
backoff_s = 0.2
backoff_max_s = 0.2

[facility.{name}.settings.fake]
poll_s = 0.05
slow_s = {slow_s}
world = "{root}/world-{name}"

[facility.{name}.settings.rucio]
{section}
"""


class RucioPlace:
    """The Rucio and the Butlers, as a context. `campaigns` are the names of those whose groups have made
    their outputs; `made` lists these outputs."""

    def __init__(self, campaigns: Sequence[str]) -> None:
        self.campaigns = tuple(campaigns)
        self.made: list[dict[str, Any]] = []
        self.directory = Path(tempfile.mkdtemp(prefix="cmd-crash-rucio-"))
        self.keep = False
        """Whether the repositories and logs stay when it ends, for somebody to look at."""
        self.rucio = Site(self.directory / "site", roots_of(self.directory))

    def __enter__(self) -> Self:
        with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack:
            making = pool.submit(self._make)
            stack.enter_context(self.rucio)
            making.result()
            stack.pop_all()
        self.infos = facilities_of(self.directory, self.rucio)
        self.rucio.daemons.pace(EVERY_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.rucio.stop()
        if self.keep:
            print(f"repositories and logs of the Rucio are kept: {self.directory}", flush=True)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _make(self) -> None:
        make_places(self.directory, [])
        self.made = self._butlers("make", self.campaigns)

    def _butlers(self, word: str, campaigns: Sequence[str], asked: Any = None) -> Any:
        program = Path(__file__).with_name("campaign_butlers.py")
        done = subprocess.run(
            [str(rubin_python()), str(program), word, str(self.directory), *campaigns],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def section(self, facility: str) -> dict[str, Any]:
        """The section `rucio` of a facility's configuration."""
        told = self.infos[facility].settings["rucio"]
        return {**told, "timeout_s": 10.0, "bundle": BUNDLED[facility]}

    def heal(self) -> None:
        """End all troubles."""
        with contextlib.suppress(ProcessLookupError):
            self.rucio.server.process.thaw()
        self.rucio.server.process.start()
        self.rucio.transfers.process.start()
        self.rucio.transfers.clear()
        self.rucio.daemons.pace(EVERY_S)

    def books(self, campaigns: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What Rucio says of each campaign's datasets, rules and files, each with the UUIDs in it; and what
        the Butlers say of all of them, by facility: see `campaign_butlers.tell`."""
        client = self.rucio.client()
        told = {name: self._told(client, name) for name in campaigns}
        files = [
            file for books in told.values() for each in books["datasets"] for file in each["files"]
        ]
        zips = {file["name"] for file in files if file["kind"] == "zip_file"}
        butlers = self._butlers("tell", campaigns, sorted(zips))
        members = {
            name: uuids for books in butlers.values() for name, uuids in books["zips"].items()
        }
        for file in files:
            packed = file["name"] in zips
            file["uuids"] = (
                members.get(file["name"], []) if packed else [json.loads(file["sidecar"])["id"]]
            )
        return told, butlers

    def _told(self, client: Any, name: str) -> dict[str, Any]:
        ask, own = self.rucio.postgres.sql, f"name LIKE 'Dataset/{name}/%'"
        datasets = names_of(client, f"Dataset/{name}/*", "dataset")
        patterns = (f"u/me/{name}/*", f"zips/{name}/*")
        return {
            "datasets": [dataset(client, each) for each in datasets],
            "files": [f for pattern in patterns for f in names_of(client, pattern, "file")],
            "rules": int(ask(f"SELECT count(*) FROM dev.rules WHERE {own}")),
            "former rules": int(
                ask(
                    f"SELECT count(DISTINCT id) FROM dev.rules_hist_recent WHERE {own}"
                    " AND id NOT IN (SELECT id FROM dev.rules)"
                )
            ),
            "zips on disk": [
                str(path.relative_to(self.at(facility)))
                for facility in DISK
                for path in (self.at(facility) / "zips" / name).rglob("*.zip")
            ],
        }

    def at(self, facility: str) -> Path:
        """The directory of a facility's files in Rucio, which is its repository."""
        return self.rucio.roots[DISK[facility]] / SCOPE


class RucioHome(Home):
    """A daemon's home with the three facilities of a place."""

    plugins = ("local", "facility", "fakes", "rucio_butler")
    facilities = tuple(DISK)

    def __init__(self, root: Path, postgres: Server | None, place: RucioPlace) -> None:
        super().__init__(root, postgres)
        self.place = place
        self.configure()

    def environ(self) -> dict[str, str]:
        """See `Home`: the daemon has only what its own configuration tells."""
        return {k: v for k, v in super().environ().items() if not k.startswith("RUCIO_")}

    def configure(self, slow_s: float = 0.0) -> None:
        """See `Home`."""
        parts = [CONFIG.format(root=self.root, socket=self.socket, database=self.database)]
        for name, info in self.place.infos.items():
            section = self.place.section(name)
            parts.append(
                FACILITY.format(
                    name=name,
                    root=self.root,
                    slow_s=slow_s,
                    python=rubin_python(),
                    butler=info.butlers["main"],
                    section="\n".join(f"{k} = {json.dumps(v)}" for k, v in section.items()),
                )
            )
        self.config.write_text("".join(parts))

    @property
    def ledgers(self) -> dict[str, Counter[str]]:
        """See `Home`: besides, movements by the orders that the driver has kept."""
        found = super().ledgers
        for name in self.facilities:
            orders = (self.root / "state" / "rucio" / "orders" / name).glob("*.json")
            found[f"rucio at {name}"] = Counter(
                json.loads(order.read_text())["order"]["key"] for order in orders
            )
        return found
