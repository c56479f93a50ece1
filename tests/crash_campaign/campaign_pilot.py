"""The scripted load: a pilot who applies campaigns and does to them what pilots do, at any moment."""

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Mapping

import grpc
from campaign_home import Home

from cm_client import Client, CmError, NotFound, StateRefused
from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.group_pb2 import Group
from cmd_api.v1.job_pb2 import Job
from cmd_api.v1.step_pb2 import Step

CALL_S = 3.0
WHY = "by the dice"
OPEN = 3
"""Campaigns that are kept under way at a time."""

GROUPS = 5
FILE = """\
campaign: {name}
owner: me
stack: w1
butler: {{repo: demo, inputs: [a], output: u/me/{name}}}
facilities: [USDF, FAR]
defaults:
  retry: {{attempts: 20, backoff: 1 s}}
steps:
  one:
    split: {{by: tract, ranges: ["1..{groups}"]}}
    before: [{{script: "{script}"}}]
    pipeline: x.yaml#a
    params: {{fake: {{run_s: 0.5}}}}
    then: [{{script: "{failing}"}}]
  plain:
    split: {{by: tract, ranges: ["1..{groups}"]}}
    pipeline: x.yaml#b
    params: {{fake: {{run_s: 3.0}}}}
  lost:
    split: {{by: tract, ranges: ["1..2"]}}
    pipeline: x.yaml#b
    params: {{fake: {{run_s: 0.5, lose_answer: true}}}}
  refused:
    split: {{by: tract, ranges: ["1..2"]}}
    pipeline: x.yaml#b
    params: {{fake: {{run_s: 0.5, refuse: Transient}}}}
  held:
    split: {{by: tract, ranges: ["1..2"]}}
    retry: {{attempts: 1}}
    before: [{{script: "{failing}"}}]
    pipeline: x.yaml#c
  look:
    after: [one, plain, lost, refused]
    breakpoint: Look at it.
  last:
    after: [look, held]
    pipeline: x.yaml#d
    then: [{{script: "{script}"}}]
"""
SCRIPT = ":\\necho $CMD_KEY >> $LEDGER\\n"
FAILING = SCRIPT + "case $CMD_KEY in *#1) exit 3;; esac\\n"
"""The first attempt fails, the second one does not."""

WANTED = {"one": GROUPS, "plain": GROUPS, "lost": 2, "refused": 2, "held": 2, "look": 0, "last": 1}
"""Groups of each step."""

USDF, FAR = "facilities/USDF", "facilities/FAR"
OVER = (Campaign.STATE_ACCEPTED, Campaign.STATE_CANCELLED, Campaign.STATE_FAILED)
FAULTS = (
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INVALID_ARGUMENT,
)


class Pilot:
    """Acts by the dice. What the daemon answers is counted in `answers`; answers that no caller should
    ever get are kept in `faults`."""

    wanted: Mapping[str, int] = WANTED
    """Groups of each step."""

    far = FAR
    """The facility that the kill switch is for."""

    highest = 900
    """Below it are the priorities that it gives."""

    def __init__(self, site: Home, dice: random.Random) -> None:
        self.site = site
        self.dice = dice
        self.applied: list[str] = []
        self.cancelled: set[str] = set()
        self.answers: Counter[str] = Counter()
        self.faults: list[str] = []
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """A client of the daemon that lives now."""
        if self._client is None:
            self._client = self.site.client().within(CALL_S)
        return self._client

    def part(self) -> None:
        """Let go of the client of a daemon that has died."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def act(self, wish: str = "") -> None:
        """Do one thing; `wish` "control" gives commands, which the control points wait for."""
        wishes = self._wishes
        if wish == "control":
            wishes = (self._control, self._control, self._pause, self._resume, self._apply)
        self._say(self.dice.choice(wishes))

    @property
    def _wishes(self) -> tuple[Callable[[], object], ...]:
        """What is done, each as often as it stands here."""
        return (
            self._apply,
            self._apply,
            self._pause,
            self._pause,
            self._resume,
            self._control,
            self._control,
            self._unhold,
            self._unhold,
            self._hold,
            self._move,
            self._control,
            self._kill_switch,
            self._drain,
            self._cancel,
            self._look,
            self._sign,
        )

    def _say(self, wish: Callable[[], object]) -> None:
        try:
            wish()
            self.answers["ok"] += 1
        except CmError as error:
            self.answers[type(error).__name__] += 1
            if error.code in FAULTS and not self.site.dead():
                self.faults.append(f"{wish.__name__}: {error.code}: {error}")

    def _open(self) -> list[Campaign]:
        return [c for c in self.client.campaigns() if c.state not in OVER]

    def _one(self, kind: Callable[[Campaign], bool] = lambda _: True) -> Campaign | None:
        found = [c for c in self._open() if kind(c)]
        return self.dice.choice(found) if found else None

    def _groups(self, *states: "Group.State.ValueType") -> list[Group]:
        campaign = self._one()
        return list(self.client.groups(campaign.name, states=states)) if campaign else []

    def _apply(self) -> None:
        if len(self._open()) >= OPEN:
            return
        name = f"c{len(self.applied)}"
        self.applied.append(name)
        self.write(name)

    def write(self, name: str) -> None:
        """Apply and start the campaign of that name."""
        text = FILE.format(name=name, groups=GROUPS, script=SCRIPT, failing=FAILING)
        self.client.apply_campaign(text, start=True)

    def _pause(self) -> None:
        if campaign := self._one(lambda c: c.state == Campaign.STATE_RUNNING):
            self.client.pause_campaign(campaign.name, reason=WHY)

    def _resume(self) -> None:
        for campaign in self._open():
            if campaign.state in (Campaign.STATE_PAUSED, Campaign.STATE_PAUSING):
                self.client.resume_campaign(campaign.name)

    def _cancel(self) -> None:
        if self.dice.random() < 0.3 and (campaign := self._one()):
            self.cancelled.add(campaign.name.partition("/")[2])
            self.client.cancel_campaign(campaign.name, reason=WHY)

    def _hold(self) -> None:
        if groups := self._groups(Group.STATE_RUNNING, Group.STATE_READY, Group.STATE_PLACED):
            self.client.hold_group(self.dice.choice(groups).name, reason=WHY)

    def _unhold(self) -> None:
        for campaign in self._open():
            for group in self.client.groups(campaign.name, states=[Group.STATE_HELD]):
                self._free(group.name)

    def _free(self, name: str) -> None:
        for wish in (self.client.release_group, self.client.retry_group):
            with contextlib.suppress(StateRefused, NotFound):
                wish(name, reason=WHY)
                return

    def _move(self) -> None:
        if groups := self._groups(Group.STATE_RUNNING, Group.STATE_HELD, Group.STATE_PLACED):
            group = self.dice.choice(groups)
            self.client.move_group(group.name, self.dice.choice((USDF, FAR)), reason=WHY)

    def _control(self) -> None:
        campaign = self._one()
        if campaign is None:
            return
        running = list(self.client.jobs(campaign.name, states=[Job.STATE_RUNNING]))
        for job in running[:4]:
            paused = job.standing == Job.STANDING_GOING
            with contextlib.suppress(StateRefused):
                if self.dice.random() < 0.2:
                    priority = self.dice.randrange(1, self.highest)
                    self.client.control_job(job.name, priority=priority, reason=WHY)
                else:
                    self.client.control_job(job.name, paused=paused, reason=WHY)

    def _kill_switch(self) -> None:
        if self.dice.random() < 0.7:
            self._revive()
        else:
            self.client.kill_facility(self.far, reason=WHY)

    def _drain(self) -> None:
        wish = self.dice.choice((self.client.drain_facility, self.client.undrain_facility))
        wish(USDF, reason=WHY)

    def _look(self) -> None:
        self.client.get_daemon()
        self.client.list_facilities()
        for campaign in self._open()[:1]:
            self.client.explain_entity(campaign.name)
            self.client.list_events(campaign.name)
            self.client.list_steps(campaign.name)

    def _sign(self) -> None:
        for campaign in self._open():
            for step in self.client.list_steps(campaign.name).steps:
                if step.state == Step.STATE_REVIEW:
                    self.client.sign_step(step.name, reason=WHY)

    def _undrain(self) -> None:
        self.client.undrain_facility(USDF, reason=WHY)

    def _revive(self) -> None:
        self.client.revive_facility(self.far, retry=True, reason=WHY)

    def _release_jobs(self) -> None:
        for campaign in self._open():
            for job in self.client.jobs(campaign.name, states=[Job.STATE_RUNNING]):
                if job.standing == Job.STANDING_PAUSED:
                    with contextlib.suppress(StateRefused):
                        self.client.control_job(job.name, paused=False, reason=WHY)

    def finished(self) -> bool:
        """Help everything towards its end; whether all campaigns have ended. For the end of a round."""
        for wish in (
            self._undrain,
            self._revive,
            self._resume,
            self._unhold,
            self._sign,
            self._release_jobs,
        ):
            self._say(wish)
        with contextlib.suppress(CmError):
            known = {c.name.partition("/")[2]: c.state for c in self.client.campaigns()}
            for name in set(self.applied) - set(known):  # the call that applied it was lost
                self.write(name)
            return set(self.applied) <= set(known) and all(s in OVER for s in known.values())
        return False

    def problem(self) -> str:
        """What holds it up, for the report of a failure."""
        told: list[str] = []
        with contextlib.suppress(CmError):
            for campaign in self._open():
                told.append(str(self.client.explain_entity(campaign.name)))
                for job in self.client.jobs(campaign.name):
                    if job.state not in (
                        Job.STATE_SUCCEEDED,
                        Job.STATE_WAITING,
                        Job.STATE_CANCELLED,
                    ):
                        told.append(str(self.client.explain_entity(job.name)))
                        break
        return "\n".join(told)
