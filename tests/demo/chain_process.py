"""The full chain as a process, and what can be done to its parts."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from demo_process import Demo

FACILITIES = ("USDF", "FrDF", "UKDF")


class Chain(Demo):
    """A run of the small full chain."""

    mover = "mover"
    """The driver that moves what the facilities made."""

    def __init__(self, place: Path, *words: str) -> None:
        super().__init__(
            place / "work", place / "said.txt", *words, program="full-chain", patience_s=420.0
        )

    def stop(self) -> None:
        """Leave nothing behind."""
        super().stop()
        self.kill_ssh_server()
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.work) in word for word in process.info["cmdline"] or ()):
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def ledger(self, facility: str) -> list[str]:
        """The keys of the attempts that were really started at a facility, in their order."""
        file = self.work / facility / "work" / "ledger"
        return file.read_text().split() if file.exists() else []

    def started(self, facility: str, step: str) -> bool:
        """Whether an attempt of a process job of this step was started at a facility."""
        return any(f"/{step}/" in key and "/process#" in key for key in self.ledger(facility))

    def accepted_at(self, facility: str, step: str) -> bool:
        """Whether all groups of a step that are placed at a facility are accepted."""
        groups = self.told("groups", f"full-chain/{step}") or []
        states = [
            each["state"] for each in groups if each.get("facility", "").endswith(f"/{facility}")
        ]
        return bool(states) and set(states) == {"STATE_ACCEPTED"}

    def up(self) -> dict[str, bool]:
        """Which facilities take work, as the daemon tells it."""
        shown = self.told("facilities") or []
        return {each["name"].removeprefix("facilities/"): bool(each["up"]) for each in shown}

    def kill_ssh_server(self) -> None:
        """SIGKILL to the ssh server and to its side of every connection."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            server = psutil.Process(
                int((self.work / "UKDF" / "sshd" / "ssh-server.pid").read_text())
            )
            if not any("ssh" in word for word in server.cmdline()):
                return
            sessions = [each for each in server.children(recursive=True) if "ssh" in each.name()]
            for process in (server, *sessions):
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def kill_agent(self, facility: str) -> None:
        """SIGKILL to a facility's agent."""
        place = str(self.work / facility)
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if any("butler_agent" in w for w in words) and any(place in w for w in words):
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def orders(self) -> list[dict[str, Any]]:
        """The movements' orders that the daemon has on disk: {"order", and "outcome" when it is over}."""
        found = []
        for path in (self.work / "state" / self.mover / "orders").glob("*/*.json"):
            with contextlib.suppress(OSError, ValueError):
                found.append(json.loads(path.read_text()))
        return found

    def wait_for_orders(self, seen: Callable[[list[dict[str, Any]]], bool], what: str) -> None:
        """Return at once when the orders are so: nothing else is asked meanwhile."""
        give_up_at = time.monotonic() + self.patience_s
        while time.monotonic() < give_up_at and self.process.poll() is None:
            if seen(self.orders()):
                return
            time.sleep(0.01)
        raise AssertionError(f"no {what} in time:\n{self.text()}")


def moving(facility: str, step: str) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether a movement of a step's group at a facility is under way."""

    def seen(orders: list[dict[str, Any]]) -> bool:
        return any(
            each["order"]["step"] == step
            and each["order"]["facility"] == facility
            and "outcome" not in each
            for each in orders
        )

    return seen


def sent_not_ingested(orders: list[dict[str, Any]]) -> bool:
    """Whether some group's outputs have arrived at home and are not taken in there."""
    over = {job_of(each) for each in orders if "outcome" in each}
    return any(
        (step, group, "keep-ingest") not in over
        for step, group, job in over
        if job == "keep-transfer"
    )


def job_of(document: dict[str, Any]) -> tuple[str, str, str]:
    """Step, group and job of an order."""
    order = document["order"]
    return (order["step"], order["group"], order["job"])
