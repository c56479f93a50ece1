"""A real daemon in a process of its own, on a Unix socket, with the null driver."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `services` lies there

from services.databases import Server

from cm_client import Client

START_S = 120.0
JOB_EVENTS = "SELECT count(*) FROM events WHERE kind = 'job' AND from_state <> to_state"

CONFIG = """\
[daemon]
state_dir = "{state}"
database = "{database}"
socket = "{socket}"
plugins = ["facility", "local", "fakes"]
log_level = "warning"
metrics = "{metrics}"

[facility.BENCH]
slots = 1000000
memory = "8 GB"
cores = 4
butlers = {{ bench = "none" }}
stacks = {{ w1 = "none" }}
drivers = {{ process = "null", script = "null", collect = "null" }}
"""


def campaign_text(name: str, groups: int) -> str:
    """The file of a campaign of one step with that many groups, each a process and a collect job."""
    return f"""\
campaign: {name}
owner: bench
stack: w1
butler: {{repo: bench, inputs: [raw], output: u/bench/{name}}}
facilities: [BENCH]
steps:
  only:
    pipeline: bench.yaml#only
    split: {{by: tract, ranges: ["1..{groups}"]}}
"""


class DaemonFailed(Exception):
    """The daemon ended or did not come up; the message has the end of its log."""


class BenchDaemon:
    """A daemon whose state lives in `directory` (a real disk) until the directory is removed. Its
    database is an SQLite file there, or a new one of a PostgreSQL server. `metrics` is the address of
    its figures, none if empty; `more` are further sections of its configuration."""

    def __init__(
        self, directory: Path, postgres: Server | None = None, metrics: str = "", more: str = ""
    ) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        # A socket's path must be short, wherever the bench runs.
        self._sockets = tempfile.TemporaryDirectory(prefix="cmd-bench-")
        self._socket = Path(self._sockets.name, "cmd.sock")
        self._config = directory / "cmd.toml"
        self._log = directory / "log"
        self.state = directory / "state"
        self._postgres = postgres
        self._url = postgres.empty() if postgres is not None else str(self.database)
        self._config.write_text(
            CONFIG.format(
                state=self.state, socket=self._socket, database=self._url, metrics=metrics
            )
            + more
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> Path:
        """The daemon's SQLite file."""
        return self.state / "cmd.db"

    @property
    def process(self) -> psutil.Process:
        """The running daemon, as the system sees it."""
        assert self._process is not None, "the daemon is not running"
        return psutil.Process(self._process.pid)

    def job_events(self) -> int:
        """Events about jobs in the history."""
        if self._postgres is not None:
            return int(self._postgres.postgres.sql(JOB_EVENTS, self._url.rpartition("/")[2]))
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            found: int = connection.execute(JOB_EVENTS).fetchone()[0]
            return found
        finally:
            connection.close()

    def database_bytes(self) -> int:
        """The size of the database, in bytes; of SQLite with its write-ahead log."""
        if self._postgres is not None:
            name = self._url.rpartition("/")[2]
            return int(self._postgres.postgres.sql(f"SELECT pg_database_size('{name}')", name))
        files = self.database.parent.glob(f"{self.database.name}*")
        return sum(file.stat().st_size for file in files)

    def start(self) -> float:
        """Start it and wait until it is SERVING; the seconds that took. Raises DaemonFailed."""
        began = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cmd_daemon", "run", "-c", str(self._config)],
                stdout=log,
                stderr=log,
            )
        while not self._serving():
            if self._process.poll() is not None or time.perf_counter() - began > START_S:
                raise DaemonFailed(self._log.read_text()[-3000:])
            time.sleep(0.02)
        return time.perf_counter() - began

    def _serving(self) -> bool:
        if not self._socket.exists():
            return False
        with grpc.insecure_channel(f"unix:{self._socket}") as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=2.0
                )
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def client(self) -> Client:
        """A client of its API."""
        return Client(f"unix:{self._socket}", actor="bench", deadline=120.0)

    def rss(self) -> float:
        """Its resident memory now, in MB (10^6 bytes)."""
        return self.process.memory_info().rss / 1e6

    def peak_rss(self) -> float:
        """The most resident memory it has had since its start, in MB (10^6 bytes)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise DaemonFailed("the system does not tell the daemon's peak memory")

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order; its state stays."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(timeout=60)
        self._process = None

    def __enter__(self) -> "BenchDaemon":
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        self._sockets.cleanup()
