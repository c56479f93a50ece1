"""The full chain's database in PostgreSQL, and two daemons at it: one leads, the other stands by.

While the campaign runs the leader is taken away twice: killed in the middle of `calibrate`, and frozen in the
middle of `coadd` until the other one leads. Whoever was taken away comes back as the stand-by, as under
systemd.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from running import ROOT, Client, DemoFailed, Kept, kept_daemon, say, socket_in

sys.path.insert(0, str(ROOT / "tests"))

from services.postgres import Postgres, packaged_bin
from services.processes import SiteError

NAMES = ("daemon", "daemon-b")
DEADLINE_S = 60.0
USER = "cmd"
CHANGING = frozenset({"apply", "sign"})
"""Commands of `cm` that only the leader takes."""


class ClientOfPair(Client):
    """`cm`, which reads from the first daemon, whatever its role, and changes things at the leader."""

    def __init__(self, pair: "StandbyOfChain", socket: Path) -> None:
        super().__init__(socket)
        self._pair = pair

    def run(
        self, *words: str, capture: bool = False, quiet: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """One command."""
        if words[0] in CHANGING:
            leader = Client(self._pair.socket_of(self._pair.leader()))
            return leader.run(*words, capture=capture, quiet=quiet)
        return super().run(*words, capture=capture, quiet=quiet)


class StandbyOfChain:
    """PostgreSQL and the two daemons of one run in `work`."""

    def __init__(self, work: Path, campaign: str) -> None:
        self._work = work
        self._campaign = campaign
        self._sockets = {NAMES[0]: socket_in(work), NAMES[1]: socket_in(work, "b")}
        self._daemons: dict[str, Kept] = {}
        self._postgres: Postgres | None = None
        self._taker = threading.Thread(target=self._take_away, daemon=True)
        self._over = threading.Event()
        self._taken: list[str] = []
        self._problem = ""

    def prepare(self) -> str:
        """Start PostgreSQL; the URL of the database. Raises DemoFailed."""
        try:
            log = self._work / "postgres.log"
            self._postgres = Postgres(log, packaged_bin(), USER, USER)
            self._postgres.make()
        except SiteError as error:
            raise DemoFailed(f"the PostgreSQL does not start: {error}") from error
        return f"postgresql+asyncpg://{USER}@127.0.0.1:{self._postgres.port}/{USER}"

    def write(self, configuration: Callable[[Path], str]) -> None:
        """Write the daemons' configurations, which differ by their sockets."""
        for name, socket in self._sockets.items():
            (self._work / f"cmd-{name}.toml").write_text(configuration(socket))

    def client(self) -> ClientOfPair:
        """For what is asked of them."""
        return ClientOfPair(self, self._sockets[NAMES[0]])

    def socket_of(self, name: str) -> Path:
        """Where one of them listens."""
        return self._sockets[name]

    def start(self) -> None:
        """Start both, and what will take the leader away."""
        for name in NAMES:
            self._daemons[name] = kept_daemon(self._work, name)
            self._daemons[name].start()
        self._taker.start()

    def stop(self) -> None:
        """End all of it."""
        self._over.set()
        for daemon in self._daemons.values():
            daemon.stop()
        if self._postgres is not None:
            self._postgres.remove()

    def leader(self, other_than: str = "") -> str:
        """The one that leads, once there is one. Raises DemoFailed at the deadline."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            for name in NAMES:
                if name != other_than and self._leads(name):
                    return name
            self._over.wait(0.2)
        raise DemoFailed(f"no daemon leads after {DEADLINE_S:.0f} s; see {self._work}/daemon*.log")

    def _leads(self, name: str) -> bool:
        shown = self._ask(name, "daemon")
        return shown is not None and not shown.get("standby", False)

    def _ask(self, name: str, *words: str) -> Any:
        """What one of them answers; None where it does not, which is no news here."""
        return Client(self._sockets[name]).told(*words, quiet=True)

    def tell(self) -> Client:
        """How the leader was taken away; a client of the one that leads now, for what only a leader
        knows. Raises DemoFailed if it was not taken away."""
        self._taker.join(DEADLINE_S)
        say("the leader was taken away")
        for words in self._taken:
            print(words)
        if self._problem or len(self._taken) != 2:
            raise DemoFailed(
                self._problem or "the campaign was over before the leader was taken away"
            )
        return Client(self._sockets[self.leader()])

    def _take_away(self) -> None:
        try:
            if self._reached("calibrate"):
                self._taken.append(self._take(signal.SIGKILL, "killed in the middle of calibrate"))
            if self._reached("coadd"):
                self._taken.append(self._take(signal.SIGSTOP, "frozen in the middle of coadd"))
        except DemoFailed as error:
            self._problem = str(error)

    def _take(self, how: signal.Signals, words: str) -> str:
        leader = self.leader()
        pid = self._daemons[leader].pid
        began = time.monotonic()
        os.kill(pid, how)
        print(f"the leader, {leader}, is {words}", flush=True)
        try:
            after = self.leader(other_than=leader)
        finally:
            if how is signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
        return f"{leader} {words}: {after} led after {time.monotonic() - began:.1f} s"

    def _reached(self, step: str) -> bool:
        """Wait until groups of a step are under way; False if all is over before."""
        name = f"{self._campaign}/{step}"
        while not self._over.wait(1.0):
            groups = next((told for each in NAMES if (told := self._ask(each, "groups", name))), [])
            if any(each["state"] == "STATE_RUNNING" for each in groups):
                return True
        return False
