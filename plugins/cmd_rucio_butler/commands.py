"""Commands to attempts: what is wanted of their rules, and having the rules be so.

Rucio has no pause, but a rule can be suspended: nothing looks at it any more then, until it is told to
be stuck and boosted, which makes Rucio's repairer take it up again within minutes. A suspended rule
does not stop transfers by itself; those that are queued or under way are cancelled with it. Other
rules for the same files at the same RSE become stuck by that, and are repaired as stuck rules are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cmd_daemon.hooks import Command, Control, ControlAnswer, DriverError, ErrorClass
from cmd_rucio_butler.faults import RucioFault
from cmd_rucio_butler.server import RucioServer, Rule

COMMANDS = frozenset({Command.PAUSE, Command.RESUME, Command.PRIORITY})
PRIORITIES = range(1, 6)
"""Priorities of the transfer service; Rucio itself takes any number."""

MARK = "; paused by cmd"
"""What is added to the comment of a rule that we suspended: it is ours to go on with."""

RESUMED = "; resumed by cmd"
"""What it bears from then on: Rucio may take files for lost that came just as it was suspended, see
`RuleKeeper.regain`."""

STOPPABLE = frozenset({"REPLICATING", "STUCK", "INJECT"})


Keep = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Writes down what is wanted of an attempt, with its order. Raises OSError."""


async def nowhere(told: Mapping[str, Any]) -> None:
    """For what nobody has to know after a restart."""


@dataclass(slots=True)
class Wanted:
    """What is wanted of an attempt of a movement, the owner of its rules. `rules` are the ids of those it
    waits for, `settled` whether it has all of them; `boosted` has the date that a rule bears until
    Rucio has come by. A rule that another group has taken over by now is that one's to command."""

    owner: str = ""
    paused: bool = False
    priority: int | None = None
    settled: bool = False
    rules: set[str] = field(default_factory=set)
    boosted: dict[str, str] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    keep: Keep = nowhere

    @classmethod
    def of(cls, owner: str, record: Mapping[str, Any], keep: Keep = nowhere) -> "Wanted":
        """As it is written down in an order's record."""
        told = record.get("wanted") or {}
        return cls(
            owner,
            bool(told.get("paused")),
            told.get("priority"),
            bool(told.get("settled")),
            set(told.get("rules") or ()),
            keep=keep,
        )

    async def take(self, control: Control) -> None:
        """Want it from now on. Raises OSError."""
        async with self.lock:
            if control.command is Command.PRIORITY:
                self.priority = int(control.value or 0)
            else:
                self.paused = control.command is Command.PAUSE
            await self._keep()

    async def settle(self) -> None:
        """The attempt has all its rules. Raises OSError."""
        async with self.lock:
            self.settled = True
            await self._keep()

    async def _keep(self) -> None:
        told = {"paused": self.paused, "priority": self.priority}
        await self.keep({**told, "settled": self.settled, "rules": sorted(self.rules)})

    def met_by(self, rule: Rule) -> bool:
        """Whether a rule rests, or goes on, as it should."""
        if rule.owner != self.owner:
            return True
        return rule.state not in STOPPABLE if self.paused else not ours(rule)

    async def obey(self, server: RucioServer, rule: Rule) -> Rule | None:
        """Have a rule rest or go on as it should; the rule then, None if it is gone. Whoever calls holds
        the lock. Raises DriverError."""
        if self.met_by(rule):
            return rule
        comment = rule.comment.removesuffix(MARK).removesuffix(RESUMED)
        if self.paused:
            comment += MARK
            # Twice: a daemon of Rucio's that was at work on the rule may have queued transfers after the
            # first has looked for them; nobody takes up a rule that is suspended.
            for _ in range(2):
                await server.update_rule(
                    rule.id, state="SUSPENDED", cancel_requests=True, comment=comment
                )
            return await server.rule(rule.id)
        await server.update_rule(rule.id, state="STUCK", boost_rule=True, comment=comment + RESUMED)
        now = await server.rule(rule.id)
        self.boosted[rule.id] = now.updated_at if now is not None else ""
        return now

    async def have_done(self, server: RucioServer) -> str:
        """Have all the attempt's rules be as they should; why not all are, in words. Raises
        DriverError."""
        async with self.lock:
            for identity in list(self.rules):
                rule = await server.rule(identity)
                if rule is not None:
                    rule = await self.obey(server, rule)
                if rule is None or rule.owner != self.owner:
                    self.rules.discard(identity)
                    continue
                if self.priority not in (None, rule.priority):
                    await server.update_rule(identity, priority=self.priority)
                    rule = await server.rule(identity) or rule
                if self.paused and rule.state == "WAITING_APPROVAL":
                    return f"the rule {identity} waits for its approval and is suspended after that"
                if not self.met_by(rule) or self.priority not in (None, rule.priority):
                    return f"the rule {identity} is {rule.state}, priority {rule.priority}"
        return "" if self.settled else "its rule in Rucio is still to be made"


def ours(rule: Rule) -> bool:
    """Whether a rule is suspended, and by us."""
    return rule.state == "SUSPENDED" and rule.comment.endswith(MARK)


def mark_of(rule: Rule) -> str:
    """The mark that a rule bears; "" if we never suspended it."""
    if ours(rule):
        return MARK
    return RESUMED if rule.comment.endswith((MARK, RESUMED)) else ""


def refusal(control: Control) -> str:
    """Why a command cannot be taken, in words; empty if it can."""
    value = control.value
    if control.command is not Command.PRIORITY or (type(value) is int and value in PRIORITIES):
        return ""
    return f"rules of Rucio have priorities from {PRIORITIES[0]} to {PRIORITIES[-1]}, not {value!r}"


def refused(control: Control, message: str) -> ControlAnswer:
    """The answer to what cannot be done."""
    return ControlAnswer(control.key, False, ErrorClass.PERMANENT, message)


def failed(control: Control, error: DriverError) -> ControlAnswer:
    """The answer where Rucio could not be asked. A transfer service that is just ending the transfers
    refuses a priority, as Rucio says then: it is asked again."""
    ending = isinstance(error, RucioFault) and error.name == "UnsupportedOperation"
    error_class = ErrorClass.NOT_YET if ending else error.error_class
    return ControlAnswer(control.key, False, error_class, str(error))
