"""A PostgreSQL cluster of the site's own on a loopback port, as user `postgres` if we are root."""

import os
import shutil
import signal
import tarfile
import tempfile
from pathlib import Path

from rucio_site.packages import postgres_bin
from rucio_site.processes import Process, free_port, kept, run

USER = "rucio"
DATABASE = "rucio"
# Nothing here has to survive a power cut.
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=150")


class Postgres:
    """One cluster: made anew or from a template, started, stopped, thrown away."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.url = f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{DATABASE}"
        self._log = log
        self._bin = postgres_bin()
        self.version = self._bin.parent.name
        self._user = "postgres" if os.geteuid() == 0 else None
        # Not below the caller's directory: pytest's are closed to other users.
        self._home = Path(tempfile.mkdtemp(prefix="rucio-site-"))
        kept(f">{self._home}")
        self._data = self._home / "data"
        if self._user:
            shutil.chown(self._home, self._user, self._user)
        argv = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        for setting in (
            *QUICK,
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self._home}",
        ):
            argv += ["-c", setting]
        self.process = Process("PostgreSQL", argv, log, self._ready, user=self._user)

    def make(self) -> None:
        """Make an empty cluster, start it and make the database."""
        self._run("initdb", "-D", str(self._data), "-U", USER, "--auth=trust", "--no-sync")
        self.process.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, DATABASE)

    def restore(self, template: Path) -> None:
        """Unpack a saved cluster and start it."""
        with tarfile.open(template) as archive:
            archive.extractall(self._home)
        for path in (self._data, *self._data.rglob("*")):
            if self._user:
                shutil.chown(path, self._user, self._user)
        self._data.chmod(0o700)
        self.process.start()

    def save(self, template: Path) -> None:
        """Pack the cluster for `restore`; it is stopped for it and started again."""
        self.process.stop(signal.SIGINT)
        (self._data / "postmaster.opts").unlink(missing_ok=True)
        template.parent.mkdir(parents=True, exist_ok=True)
        packed = template.with_suffix(f".{os.getpid()}")
        with tarfile.open(packed, "w") as archive:
            archive.add(self._data, "data")
        packed.replace(template)
        self.process.start()

    def sql(self, statement: str) -> str:
        """Run a statement by psql; what it prints, unaligned."""
        out = self._home / "sql.out"
        out.unlink(missing_ok=True)
        argv = [str(self._bin / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", USER]
        run([*argv, "-d", DATABASE, "-At", "-v", "ON_ERROR_STOP=1", "-c", statement], out)
        return out.read_text().strip()

    def remove(self) -> None:
        """Stop it and delete everything."""
        self.process.stop(signal.SIGQUIT)
        shutil.rmtree(self._home, ignore_errors=True)
        kept(f"<{self._home}")

    def _ready(self) -> bool:
        # The eighth line of the lock file says when it accepts connections.
        lock = self._data / "postmaster.pid"
        lines = lock.read_text().splitlines() if lock.exists() else []
        return len(lines) > 7 and lines[7].strip() == "ready"

    def _run(self, program: str, *args: str) -> None:
        run(
            [str(self._bin / program), *args],
            self._log,
            cwd="/",
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
        )
