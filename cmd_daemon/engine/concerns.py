"""What needs a person just now: groups and steps that wait for one, grouped by where and why.

A thousand groups of one step that are held for the same reason are one concern. What a person has held
or stopped is none: somebody knows of it already.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cmd_daemon.hooks.ports import Notice
from cmd_daemon.kernel.entities import Group
from cmd_daemon.kernel.states import GroupState, StepState
from cmd_daemon.kernel.view import View

INFO, WARNING, URGENT = "info", "warning", "urgent"

_VARIES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|0x[0-9a-f]+|\d+", re.IGNORECASE)


def alike(text: str) -> str:
    """A reason without the numbers and ids that differ from group to group: the same text means the
    same cause."""
    return _VARIES.sub("#", text)[:300]


@dataclass(slots=True)
class Concern:
    """One thing that needs a person, and how many entities it stands for."""

    key: str
    severity: str
    scope: str
    state: str
    reason: str
    members: dict[int, None] = field(default_factory=dict)


class Concerns:
    """The concerns of the view. O(1) for each entity that changes. `over` is told the key of each
    concern that stands no longer."""

    def __init__(self, view: View, over: Callable[[str], None]) -> None:
        self._view = view
        self._over = over
        self._standing: dict[int, str] = {}
        self._named: dict[str, Concern] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._named

    def __iter__(self) -> Iterator[Concern]:
        return iter(self._named.values())

    def count(self, key: str) -> int:
        """How many entities a concern stands for; 0 if it does not stand."""
        concern = self._named.get(key)
        return len(concern.members) or 1 if concern is not None else 0

    def load(self) -> None:
        """Look at everything that is open."""
        for group in self._view.groups.values():
            self.group(group.id)
        for step in self._view.steps.values():
            self.step(step.id)

    def group(self, ident: int) -> None:
        """A group has changed."""
        group = self._view.groups.get(ident)
        self._leave(ident)
        if group is not None and _waits_for_person(group):
            step = self._view.steps[group.step_id]
            self._join(ident, self._view.step_name(step), str(group.state), group.reason or "")

    def step(self, ident: int) -> None:
        """A step has changed."""
        step = self._view.steps.get(ident)
        self._leave(ident)
        if step is not None and step.state in (StepState.REVIEW, StepState.HELD):
            self._join(ident, self._view.step_name(step), f"step {step.state}", step.reason or "")

    def say(self, key: str, severity: str, scope: str, reason: str) -> None:
        """Something that is no group or step needs a person: a facility, the database."""
        self._named.setdefault(key, Concern(key, severity, scope, "", reason))

    def unsay(self, key: str) -> None:
        """It does no longer, also if that was said by a former daemon."""
        self._named.pop(key, None)
        self._over(key)

    def _join(self, ident: int, scope: str, state: str, reason: str) -> None:
        key = f"{scope}|{state}|{alike(reason)}"
        concern = self._named.get(key)
        if concern is None:
            concern = self._named[key] = Concern(key, WARNING, scope, state, reason)
        concern.members[ident] = None
        self._standing[ident] = key

    def _leave(self, ident: int) -> None:
        key = self._standing.pop(ident, None)
        if key is None:
            return
        concern = self._named[key]
        del concern.members[ident]
        if not concern.members:
            self.unsay(key)

    def notice(self, concern: Concern) -> Notice:
        """The concern in one sentence, with the command that shows more or acts."""
        if not concern.state:
            return Notice(
                concern.severity, concern.scope, concern.reason, command_for(concern.scope)
            )
        short = short_name(concern.scope)
        why = f": {concern.reason}" if concern.reason else ""
        if concern.state == f"step {StepState.REVIEW}":
            text = f"{short} waits to be signed{why}"
            return Notice(concern.severity, concern.scope, text, f'cm sign {short} --reason "..."')
        if concern.state == f"step {StepState.HELD}":
            text = f"{short} cannot be split into groups{why}"
            return Notice(concern.severity, concern.scope, text, f"cm why {short}")
        doing = "held" if concern.state == GroupState.HELD else "waiting for a decision"
        if len(concern.members) == 1:
            name = self._view.group_name(self._view.groups[next(iter(concern.members))])
            text = f"{short_name(name)} is {doing}{why}"
            return Notice(concern.severity, name, text, f"cm why {short_name(name)}")
        text = f"{len(concern.members)} groups of {short} are {doing}{why}"
        command = f"cm groups {short} --state {concern.state}"
        return Notice(concern.severity, concern.scope, text, command)


def _waits_for_person(group: Group) -> bool:
    if group.held or group.stopped:
        return False
    return group.state in (GroupState.HELD, GroupState.REVIEW)


def short_name(name: str) -> str:
    """A resource name as `cm` takes it: `campaigns/c/steps/s` is `c/s`."""
    return "/".join(name.split("/")[1::2])


def command_for(name: str) -> str:
    """The command that tells more about an entity."""
    if name.startswith("facilities/"):
        return f"cm facility {short_name(name)}"
    return f"cm why {short_name(name)}" if "/" in name else "cm daemon"
