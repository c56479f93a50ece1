"""A real daemon in a fake world and a real `cm web` before it."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from client_setup import wait_until
from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.group_pb2 import Group
from living_daemon import LivingDaemon

from cm_client import Client, NotFound
from cm_client.words import FINAL, state_word
from cmd_daemon.testing.world import Behaviour

FACILITIES = ("USDF", "FrDF", "UKDF")
DEADLINE_S = 30.0

FILE = """\
campaign: {name}
owner: pilot1
ticket: DM-4711
stack: w1
butler: {{repo: demo, inputs: [a], output: u/pilot1/{name}}}
facilities: [USDF, FrDF, UKDF]
placement: {{algorithm: balanced, shares: {{USDF: 0.5, FrDF: 0.25, UKDF: 0.25}}}}
defaults: {{retry: {{attempts: 1}}}}
steps:
  isr:
    pipeline: x.yaml#isr
    split: {{splitter: fake, count: {groups}}}
  look:
    after: [isr]
    breakpoint: Look at the plots of the flats.
  coadd:
    after: [look]
    pipeline: x.yaml#coadd
    split: {{splitter: fake, count: 2}}
"""

MOVING = """\
campaign: {name}
owner: pilot2
stack: w1
butler: {{repo: demo, inputs: [a], output: u/pilot2/{name}}}
facilities: [USDF, FrDF, UKDF]
placement: {{algorithm: balanced}}
defaults: {{retry: {{attempts: 1}}}}
steps:
  catalog:
    pipeline: x.yaml#catalog
    split: {{splitter: fake, count: 3}}
  fit:
    after: [catalog]
    at: USDF
    gather: {{datasets: [catalog]}}
    pipeline: x.yaml#fit
"""

RUNS = Behaviour(run_s=None, quanta={"isr": (10, 10)})
"""An attempt that goes on until a test ends it."""

SHORT = Behaviour(quanta={"isr": (10, 9), "calibrate": (10, 8)}, message="Too few stars: 3 of 10")
"""Too few quanta succeeded: its group is in REVIEW."""

BROKEN = Behaviour(ok=False, exit_code=137, message="killed: out of memory at 8123456 kB")
"""Nothing came out: its group is HELD."""


def keyed(campaign: str, step: str, group: str, job: str = "process", attempt: int = 1) -> str:
    """The key of an attempt."""
    return f"{campaign}/{step}/{group}/{job}#{attempt}"


class WebServer:
    """`cm web` as a process of its own, for the actor `pilot1`."""

    def __init__(self, root: Path, target: str, *options: str) -> None:
        self.said = root / "web.txt"
        environment = {**os.environ, "XDG_STATE_HOME": str(root / "state-home")}
        with self.said.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cm_cli", "--address", target, "--actor", "pilot1", "web"]
                + (list(options) or ["--port", "0"]),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        wait_until(lambda: "key=" in self.text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.text()
        self.url = next(word for word in self.text().split() if "key=" in word)

    def text(self) -> str:
        """What it has said."""
        return self.said.read_text()

    def close(self) -> None:
        """End it as Ctrl-C does."""
        self.process.terminate()
        self.process.wait(timeout=20)


class WebHouse:
    """The daemon, the dashboard, and a client to see what came of it."""

    living: ClassVar[list["WebHouse"]] = []

    def __init__(self, root: Path) -> None:
        self.root = root
        self.daemon = LivingDaemon(root, *FACILITIES)
        self.cm = Client(self.daemon.target, actor="tester")
        self.server = WebServer(root, self.daemon.target)
        self.url = self.server.url
        self.living.append(self)

    def close(self) -> None:
        """End all of it."""
        self.living.remove(self)
        self.server.close()
        self.cm.close()
        self.daemon.close()

    def clear(self) -> None:
        """End and put away every campaign."""
        for campaign in list(self.cm.campaigns()):
            if state_word(campaign) not in FINAL:
                self.cm.cancel_campaign(campaign.name)
                self.reach(campaign.name, "CANCELLED")
            self.cm.archive_campaign(campaign.name)

    def behave(self, key: str, behaviour: Behaviour) -> None:
        """What is to happen to an attempt, wherever it runs."""
        for facility in FACILITIES:
            self.daemon.world(facility).behaviours[key] = behaviour

    def end(self, key: str) -> None:
        """End an attempt that runs."""
        for facility in FACILITIES:
            world = self.daemon.world(facility)
            if key in world.attempts:
                world.end(key)

    def apply(self, name: str, groups: int = 4, start: bool = True, **behaviours: Behaviour) -> str:
        """A campaign; `g0002=SHORT` says what happens to the first attempt of group 0002 of its first
        step, the others just succeed. Its resource name."""
        for group, behaviour in behaviours.items():
            self.behave(keyed(name, "isr", group.removeprefix("g")), behaviour)
        text = FILE.format(name=name, groups=groups)
        self.cm.apply_campaign(text, file=f"{name}.yaml", start=start, reason="a test")
        return f"campaigns/{name}"

    def group(self, name: str) -> Group:
        """A group now."""
        return self.cm.get_group(name)

    def state(self, name: str) -> str:
        """The state of a campaign, step or group."""
        look: dict[int, Callable[[str], Any]] = {
            2: self.cm.get_campaign,
            4: self.cm.get_step,
            6: self.cm.get_group,
            8: self.cm.get_job,
        }
        return state_word(look[len(name.split("/"))](name))

    def reach(self, name: str, *states: str) -> str:
        """Wait until an entity is in one of these states; its name."""
        end = time.monotonic() + DEADLINE_S
        while (state := self._state_if_there(name)) not in states:
            assert time.monotonic() < end, f"{name} is {state}, not {states}"
            time.sleep(0.02)
        return name

    def _state_if_there(self, name: str) -> str:
        with contextlib.suppress(NotFound):  # its step is still being split
            return self.state(name)
        return "not there"

    def campaign(self, name: str) -> Campaign:
        """A campaign now."""
        return self.cm.get_campaign(name)

    def events(self, name: str, cause: str) -> list[Any]:
        """The events of an entity that had this cause."""
        return [e for e in self.cm.events(name) if e.name == name and e.cause == cause]

    def moving(self, name: str) -> str:
        """A campaign whose gather left two gaps: its group is HELD. Its resource name."""
        book = {"source": "FrDF", "destination": "USDF", "type": "catalog", "made": 12, "sent": 12}
        gap = {"uuid": "u-1", "data_id": {"visit": 7}, "reason": "it never arrived"}
        told = {**book, "arrived": 10, "bytes": 4_000_000, "missing": 2, "gaps": [gap]}
        group = keyed(name, "fit", "all", "gather-register").rpartition("/")[0]
        self.behave(f"{group}/gather-register#1", Behaviour(extra={"books": [book]}))
        moved = Behaviour(ok=False, message="2 datasets never arrived", extra={"books": [told]})
        self.behave(f"{group}/gather-transfer#1", moved)
        self.cm.apply_campaign(MOVING.format(name=name), file=f"{name}.yaml", start=True)
        self.reach(f"campaigns/{name}/steps/fit/groups/all", "HELD")
        return f"campaigns/{name}"
