"""What a round of the crash campaign takes place in: two facilities, a daemon that is killed again and
again, and a clock, a disk and a database that can be made to fail."""

import contextlib
import ctypes
import errno
import subprocess
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import campaign_paths  # noqa: F401
from campaign_home import Home
from far_machine import FarMachine
from services.databases import Server

DISK_BYTES = 64 * 1024**2
DURABLE = ("fsync=off", "full_page_writes=off", "max_connections=150")
"""What PostgreSQL has committed outlives its immediate stop; a power cut is not tried."""

CONFIG = """\
[daemon]
state_dir = "{root}/state"
socket = "{socket}"
database = "{database}"
plugins = ["local", "facility", "housekeeping", "fakes"]
log_format = "console"
probe_s = 1.0

[facility.USDF]
slots = 8
memory = "8 GB"
cores = 4
butlers = {{ demo = "/none" }}
stacks = {{ w1 = "/usr/bin/python3" }}
drivers = {{ process = "fake", script = "local", collect = "null" }}

[facility.USDF.settings.local]
slots = 8
work_dir = "{root}/local"
grace_s = 0.2
env = {{ LEDGER = "{root}/ledger" }}

[facility.USDF.settings.fake]
poll_s = 0.05
slow_s = {slow_s}
world = "{root}/world-USDF"

[facility.FAR]
slots = 4
memory = "8 GB"
cores = 4
butlers = {{ demo = "/none" }}
stacks = {{ w1 = "/usr/bin/python3" }}
drivers = {{ process = "fake", script = "ssh", collect = "null" }}

[facility.FAR.settings.fake]
poll_s = 0.05
slow_s = {slow_s}
world = "{root}/world-FAR"

[facility.FAR.settings.ssh]
host = "127.0.0.1"
port = {port}
user = "{user}"
known_hosts = "{root}/known_hosts"
key = "{root}/client_key"
work_dir = "{root}/far"
grace_s = 0.2
poll_s = 0.2
backoff_s = 0.05
backoff_max_s = 0.5
connect_s = 5.0
call_s = 10.0
env = {{ LEDGER = "{root}/ledger" }}
"""


class Site(Home):
    """One home with all that is around it. Made with a short `root`; `close` leaves nothing."""

    facilities = ("USDF", "FAR")

    def __init__(self, root: Path, postgres: Server | None) -> None:
        super().__init__(root, postgres)
        self.far = FarMachine(root)
        self.far.start()
        self.configure()
        self.disk = postgres is None and _small_disk(root / "state")

    def configure(self, slow_s: float = 0.0) -> None:
        """Write the configuration of the next daemon, whose fake drivers take `slow_s` for each call."""
        text = CONFIG.format(
            root=self.root,
            socket=self.socket,
            database=self.database,
            slow_s=slow_s,
            port=self.far.port,
            user=self.far.user,
        )
        self.config.write_text(text)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """No room is left on the disk of the state directory."""
        ballast = self.root / "state" / "ballast"
        with ballast.open("wb", buffering=0) as out, contextlib.suppress(OSError):
            while True:
                out.write(b"\0" * 65536)
        try:
            yield
        finally:
            ballast.unlink()

    @property
    def ledgers(self) -> dict[str, Counter[str]]:
        """See `Home`: besides, by the supervisors, here and over ssh."""
        local, far = _lines(self.root / "local" / "ledger"), Counter(self.far.ledger())
        return {**super().ledgers, "local": local, "ssh": far}

    def close(self) -> None:
        """Leave nothing behind but the folder."""
        super().close()
        self.far.clear()
        if self.disk:
            subprocess.run(["umount", "--lazy", str(self.root / "state")], check=True)


def _lines(file: Path) -> Counter[str]:
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()


def _small_disk(place: Path) -> bool:
    """Mount a small file system there; False, and loudly so, where we may not."""
    place.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={DISK_BYTES}".encode()
    if libc.mount(b"crash", str(place).encode(), b"tmpfs", 0, options) == 0:
        return True
    reason = errno.errorcode.get(ctypes.get_errno(), "?")
    warnings.warn(f"NO SMALL DISK HERE ({reason}): a full disk is not tried", stacklevel=2)
    return False
