"""Rucio's daemons (`rounds.py`) as a process of the site."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from services.processes import Process, SiteError, free_port, listens

from rucio_site.rest import ask

# The reaper: in production it never touches the storage that Butlers own, whatever expires. The others
# have nothing to do here (no subscriptions, staging, lifetimes of datasets or quotas) but take a third
# of a round's work.
RESTING = ("reaper", "transmogrifier", "stager", "undertaker", "abacus-account", "abacus-rse")


class Daemons:
    """The daemons; they do nothing until a round is ordered or a pace is set."""

    def __init__(self, venv: Path, env: Mapping[str, str], log: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        argv = [str(venv / "bin" / "python"), str(Path(__file__).with_name("rounds.py")), str(port)]
        self.process = Process("Rucio's daemons", argv, log, lambda: listens(port), env)

    def round(self, *names: str, rounds: int = 1) -> dict[str, float]:
        """Run the named daemons, or all that are not off, so often; the seconds each took last.

        The reaper deletes files only if it is named or `off` was told without it.

        SiteError if one fell over, with what it said.
        """
        order = {"daemons": list(names) or None, "rounds": rounds}
        answer = ask("POST", f"{self.url}/round", order, timeout_s=600.0)
        if answer["errors"]:
            raise SiteError("\n".join(f"{name}: {text}" for name, text in answer["errors"].items()))
        seconds: dict[str, float] = answer["seconds"]
        return seconds

    def rounds_until(self, true: Callable[[], Any], what: str, deadline_s: float = 90.0) -> Any:
        """Run rounds until it holds and return what it came to; SiteError after the deadline."""
        end = time.monotonic() + deadline_s
        while not (seen := true()):
            if time.monotonic() > end:
                raise SiteError(f"{what} never came to be ({deadline_s:.0f} s of rounds)")
            self.round()
        return seen

    def pace(self, every_s: float) -> None:
        """Rounds by themselves, this many seconds after the end of the one before."""
        ask("POST", f"{self.url}/pace", {"every_s": every_s})

    def pause(self) -> None:
        """No more rounds by themselves; returns when the one under way has ended."""
        ask("POST", f"{self.url}/pace", {"every_s": None})

    def off(self, names: Sequence[str] = RESTING) -> None:
        """Leave exactly these daemons out of the rounds; without names those of the beginning."""
        ask("POST", f"{self.url}/off", {"daemons": list(names)})

    def state(self) -> dict[str, Any]:
        """Rounds so far, pace, what is off, the errors of the last round."""
        answer: dict[str, Any] = ask("GET", self.url)
        return answer
