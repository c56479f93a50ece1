"""Scripts on demand: a campaign of one step and one script, made, followed, and put away.

A script that is run from the command line is a campaign like any other: durable, run once, with its
log, its history and its actor. Only its name says where it came from.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.daemon_pb2 import ExplainEntityResponse
from cmd_api.v1.facility_pb2 import Facility
from cmd_api.v1.job_pb2 import Job

from cm_client import (
    Client,
    CmError,
    DriverFailed,
    Name,
    NotFound,
    StateRefused,
    connection_lost,
    short_name,
)

from .show.text import clean, state_word

STEP = "script"
GROUP = "all"
JOB = "before-1"
"""What the daemon calls the one group of a step that is not split, and its first script."""

MEMORY = 2 * 1024**3
"""Bytes a script may have, if the facility gives one job that much."""

OVER = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "HELD", "UNCERTAIN"})
FINAL = frozenset({"ACCEPTED", "FAILED", "CANCELLED", "ARCHIVED"})
LOOK_EVERY = 0.2
LOOK_AT_MOST = 2.0
"""Seconds between two looks at a script that has not begun, at first and at last."""
TELL_AFTER = 2.0
"""Seconds after which it is said what the script waits for."""
PUT_AWAY_WITHIN = 15.0
"""Seconds in which a campaign whose script is done has to become ACCEPTED."""

_NAMED = re.compile(r"script-.+-\d{8}T\d{6}-[0-9a-f]{6}")


def finished_script(campaign: Campaign) -> bool:
    """Whether a campaign is that of a script on demand, by its name, and final."""
    named = _NAMED.fullmatch(short_name(campaign.name)) is not None
    return named and state_word(campaign) in FINAL


@dataclass(frozen=True, slots=True)
class Order:
    """What to run: a local file, whose text travels, or the name of a script that the facility's
    `scripts_dir` has. `timeout` in seconds."""

    script: str
    args: Sequence[str]
    env: Mapping[str, str]
    timeout: float

    def text(self) -> str:
        """What goes into the campaign file. Raises click.BadParameter for a file that is no script."""
        path = Path(self.script)
        if not path.is_file():
            if path.exists() or self.script.startswith("."):
                raise click.BadParameter(f"{self.script!r} is no file that can be read")
            return self.script
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise click.BadParameter(f"{self.script}: {problem}") from None
        if not text.strip():
            raise click.BadParameter(f"{self.script} is empty")
        return text if text.startswith("#!") else f"#!/bin/sh\n{text}"


def campaign_file(facility: Facility, order: Order, actor: str, now: float) -> tuple[str, str]:
    """The campaign's name and its file, which is JSON and therefore YAML; `now` in seconds UTC.

    Raises click.ClickException where the facility has nothing that a campaign file must name.
    """
    name = short_name(facility.name)
    for what, there in (("stack", facility.stacks), ("Butler repository", facility.butlers)):
        if not there:
            raise click.ClickException(
                f"Facility {name} has no {what} in the daemon's configuration: every campaign names "
                "one, also that of a script. Configure one, or run the script elsewhere."
            )
    script = {
        "script": _plain(order.text()),
        "args": [_plain(_literal(arg)) for arg in order.args],
        "env": {key: _plain(_literal(value)) for key, value in order.env.items()},
        "timeout": f"{order.timeout:g} s",
    }
    memory = min(MEMORY, facility.memory or MEMORY)
    step = {
        "at": name,
        "before": [script],
        "resources": {"memory": f"{memory} B"},
        "retry": {"attempts": 1},
        "errors": [{"action": "fail"}],  # a script that failed waits for nobody
    }
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    mark = hashlib.sha256(f"{now!r} {actor} {json.dumps(step)}".encode()).hexdigest()[:6]
    campaign = f"script-{name}-{stamp}-{mark}"
    file = {
        "campaign": campaign,
        "owner": actor,
        "stack": sorted(facility.stacks)[0],
        "butler": {
            "repo": sorted(facility.butlers)[0],
            "inputs": ["none"],
            "output": f"scripts/{campaign}",
        },
        "facilities": [name],
        "steps": {STEP: step},
    }
    return campaign, json.dumps(file, ensure_ascii=False, indent=1)


def _literal(text: str) -> str:
    """An argument in which the facility's driver finds no template."""
    return text.replace("{", "{{").replace("}", "}}")


def _plain(text: str) -> str:
    """A text in which the campaign file's reader finds no parameter."""
    return text.replace("${", "$${")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a script ended. `exit_code` is None if it never ran, or nobody knows."""

    state: str
    exit_code: int | None
    message: str
    result: Any

    @property
    def code(self) -> int:
        """What `cm` ends with: the script's own exit code, as a shell would tell it."""
        if self.state == "SUCCEEDED":
            return 0
        if self.exit_code is None or self.exit_code == 0:
            return 1
        return self.exit_code if self.exit_code > 0 else 128 - self.exit_code


class Follower:
    """Follows one script to its end. `write` takes pieces of its log, `note` what is to be said."""

    def __init__(
        self,
        client: Client,
        campaign: str,
        write: Callable[[bytes], None],
        note: Callable[[str], None],
    ) -> None:
        self._client = client
        self._step = Name((campaign, STEP))
        self._group = self._step.child(GROUP)
        self._write, self._note = write, note
        self._received = 0
        self._told = ""
        self._began = time.monotonic()

    def follow(self) -> Ended:
        """Until the script has ended, or a person is needed. Raises CmError but for lost connections."""
        wait = LOOK_EVERY
        while True:
            try:
                job = self._job()
                if job is None or not job.ref:
                    if ended := self._never(job):
                        return ended
                    self._tell(job)
                else:
                    self._copy_log(job)
                    job = self._client.get_job(job.name)
                    wait = LOOK_EVERY
                if job is not None and state_word(job) in OVER:
                    return self._ended(job)
            except CmError as error:
                if not connection_lost(error):
                    raise
                self._note("Connection lost, trying again.")
            time.sleep(wait)
            wait = min(LOOK_AT_MOST, wait * 1.5)

    def _job(self) -> Job | None:
        try:
            return self._client.get_job(self._group.child(JOB).full)
        except NotFound:  # not split yet
            return None

    def _copy_log(self, job: Job) -> None:
        """What the log has beyond what was written; returns when the attempt is over."""
        try:
            for message in self._client.read_log(job.name, offset=self._received, follow=True):
                self._received = message.offset + len(message.data)
                self._write(message.data)
        except (NotFound, StateRefused, DriverFailed):
            return  # no log yet, or none any more: its state tells

    def _never(self, job: Job | None) -> Ended | None:
        """The end of a script that will not begin by itself; None if it may."""
        if job is not None and state_word(job) in OVER:
            return None  # told by its job
        campaign = self._client.get_campaign(self._step.parent.full)
        if state_word(campaign) in FINAL or campaign.needs_person:
            answer = self._explain(job)
            return Ended(answer.state, None, answer.summary, None)
        return None

    def _explain(self, job: Job | None) -> ExplainEntityResponse:
        return self._client.explain_entity((self._group if job is not None else self._step).full)

    def _tell(self, job: Job | None) -> None:
        """What it waits for, when that is news."""
        if time.monotonic() - self._began < TELL_AFTER:
            return
        summary = clean(self._explain(job).summary)
        if summary != self._told:
            self._told = summary
            self._note(summary)

    def _ended(self, job: Job) -> Ended:
        attempts = self._client.list_attempts(job.name).attempts
        state = state_word(job)
        if not attempts:
            return Ended(state, None, job.reason, None)
        last = attempts[-1]
        code = last.exit_code if last.HasField("exit_code") else None
        return Ended(state, code, last.message or job.reason, _result(last.extra))


def _result(extra: str) -> Any:
    """The script's JSON result line, if it told one."""
    try:
        told = json.loads(extra or "{}")
    except ValueError:
        return None
    return told.get("result") if isinstance(told, dict) else None


def put_away(client: Client, campaign: str) -> None:
    """Archive the campaign of a script that succeeded, as soon as it is ACCEPTED.

    It stays where it is if that takes too long or fails: lists hide it then by its name.
    """
    name = Name((campaign,)).full
    end = time.monotonic() + PUT_AWAY_WITHIN
    while time.monotonic() < end:
        try:
            if state_word(client.get_campaign(name)) == "ACCEPTED":
                client.archive_campaign(name, reason="its script is done")
                return
        except CmError:
            return
        time.sleep(LOOK_EVERY)
