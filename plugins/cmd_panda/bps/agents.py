"""The program at the facility that builds graphs and runs `bps submit`, one process for each stack."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_local.agent import ButlerAgent
from cmd_local.programs import AGENT, STACK, Program
from cmd_local.settings import AgentSettings
from cmd_panda.bps.rendering import Site
from cmd_panda.settings import NAME
from cmd_panda.work import Place

OURS = Path(__file__).parents[1] / "stack"
PROGRAM = ("bps_agent.py", "bps_attempt.py", "bps_failures.py", "bps_sending.py")
RUNNER = "process_runner.py"
BACKOFF_S = 1.0
"""Seconds before a program that has died is started again; doubled with each death."""

HERE = "local"
"""The transport of a facility that is this machine."""


def site_of(place: Place) -> Site:
    """The facility's paths. Raises DriverError PERMANENT where its settings leave them open."""
    facility, settings = place.facility, place.settings
    bps = settings.bps
    work_dir, credential = bps.work_dir, {"token_file": bps.token_file, "proxy": bps.proxy}
    if facility.transport == HERE:
        work_dir = work_dir or str((place.host.state_dir / NAME / facility.name / "bps").absolute())
        if settings.auth == "oidc" and not bps.token_file:
            credential["token_file"] = str(settings.token_file or "")
        elif settings.auth != "oidc" and not bps.proxy:
            credential["proxy"] = str(settings.proxy or "")
    wanted = "token_file" if settings.auth == "oidc" else "proxy"
    missing = [
        name for name, value in (("work_dir", work_dir), (wanted, credential[wanted])) if not value
    ]
    if missing:
        raise DriverError(
            ErrorClass.PERMANENT,
            f"{place.here}: its section panda.bps needs {' and '.join(missing)}: where they are at the "
            "facility, nobody else can know",
        )
    endpoint = (bps.endpoint or f"{work_dir}/files").rstrip("/")
    return Site(facility, settings, work_dir, endpoint, {k: v for k, v in credential.items() if v})


def environment(site: Site) -> dict[str, str]:
    """The environment of the program: where PanDA is and how we are known there, without a secret."""
    settings, bps = site.settings, site.settings.bps
    url = f"{bps.server or settings.server}/server/panda"
    ours = {
        "PANDA_URL": url,
        "PANDA_URL_SSL": url,
        "PANDACACHE_URL": url,
        # Without it pandaclient looks its hosts up when it is imported.
        "PANDA_BEHIND_REAL_LB": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if settings.auth == "oidc":
        ours |= {"PANDA_AUTH": "oidc", "PANDA_AUTH_VO": settings.origin}
    else:
        ours |= {"PANDA_AUTH": "x509_no_grid"}
    return {**ours, **bps.env}


class BpsAgents:
    """The programs of one facility, each started when it is first asked."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._agents: dict[str, ButlerAgent] = {}

    def of(self, stack: str) -> ButlerAgent:
        """The program in a stack. Raises DriverError PERMANENT if the facility has no such stack."""
        if stack not in self._agents:
            self._agents[stack] = self._make(stack)
        return self._agents[stack]

    def _make(self, stack: str) -> ButlerAgent:
        place = self._place
        site = site_of(place)
        python = place.facility.stacks.get(stack)
        if python is None:
            has = ", ".join(sorted(place.facility.stacks)) or "none"
            words = f"{place.here}: there is no stack '{stack}' (it has: {has})"
            raise DriverError(ErrorClass.PERMANENT, words)
        settings = AgentSettings(
            stack=stack, start_s=site.settings.bps.start_s, backoff_s=BACKOFF_S
        )
        program = Program(
            program_files(),
            PROGRAM[0],
            python,
            [
                f"--work-dir={site.work_dir}/{stack}",
                f"--workers={site.settings.bps.workers}",
            ],
            environment(site),
        )
        return ButlerAgent(
            place.facility.name, program, settings, place.host, what=f"BPS agent {stack}"
        )

    async def ask(self, stack: str, op: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """What the program in a stack answers. Raises DriverError."""
        told = await self.of(stack).call(op, args)
        return told if isinstance(told, dict) else {}

    async def close(self) -> None:
        """End the programs; what they have begun goes on."""
        agents, self._agents = self._agents, {}
        await asyncio.gather(*(agent.close() for agent in agents.values()))


def program_files() -> dict[str, bytes]:
    """The files of the program, which travel to the facility."""
    own = [OURS / name for name in PROGRAM]
    others = [STACK / name for name in (*AGENT, RUNNER)]
    return {path.name: path.read_bytes() for path in (*own, *others)}
