"""Which actions a page offers: the one place that says so.

What fits the state of an entity is the daemon's word: it lists the commands that would work now
(`ExplainEntity`), as text for `cm`. Here they become buttons. Whatever a page offers, the daemon
decides when it is pressed, and its refusal is shown in its own words.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from cmd_api.v1.facility_pb2 import Facility

from cm_client import facility_name, parse_name


@dataclass(frozen=True, slots=True)
class Action:
    """Something a person can do with an entity (`name` in full). `mode` tells ways of one verb apart."""

    verb: str
    name: str
    mode: str = ""

    @property
    def label(self) -> str:
        """What its button says."""
        return _LABELS.get((self.verb, self.mode)) or self.verb.capitalize()

    @property
    def grave(self) -> bool:
        """Whether it cannot be taken back, or ends work."""
        return self.verb in GRAVE


_LABELS = {
    ("retry", "missing-only"): "Retry missing only",
    ("retry", "from-start"): "Retry from start",
    ("revive", "retry"): "Revive and retry",
    ("redrive", ""): "Redrive gaps",
}

GRAVE = frozenset({"cancel", "reject", "kill", "archive"})

VERBS = frozenset(
    {
        "start", "pause", "resume", "cancel", "archive", "sign", "release", "retry", "accept",
        "reject", "hold", "move", "redrive", "drain", "undrain", "kill", "revive",
    }
)  # fmt: skip

MODES = frozenset({"", "missing-only", "from-start", "retry"})

NEEDS_REASON = frozenset({"accept", "reject", "sign", "move", "kill"})
"""Verbs that the daemon takes only with a reason."""

_FACILITY = frozenset({"drain", "undrain", "kill", "revive"})


def offered(commands: Iterable[str]) -> list[Action]:
    """The actions among commands for `cm`, such as `cm retry DRP1/coadd/9813 --missing-only`; what is
    only to look at, or unknown here, is left out."""
    found = []
    for command in commands:
        try:
            words = shlex.split(command)
        except ValueError:
            continue
        if len(words) < 3 or words[0] != "cm" or words[1] not in VERBS:
            continue
        verb, name = words[1], words[2]
        mode = next((word[2:] for word in words[3:] if word[2:] in MODES - {""}), "")
        try:
            full = facility_name(name) if verb in _FACILITY else parse_name(name).full
        except ValueError:
            continue
        found.append(Action(verb, full, mode))
    return found


def of_facility(facility: Facility) -> list[Action]:
    """What can be done with a facility; the daemon has no list of it."""
    name = facility.name
    if facility.killed:
        return [Action("revive", name, "retry"), Action("revive", name)]
    switch = Action("undrain" if facility.drained else "drain", name)
    return [switch, Action("kill", name)]
