"""A rule from its making to its end.

A rule is found by its dataset and RSE: whoever comes after a crash between making it and knowing of
it adopts it. One that somebody has deleted is made again. One that is stuck is boosted a few times;
what does not move even then is told file by file, with the words of the transfer service.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_local.moving.manifest import Link
from cmd_local.moving.orders import Movement
from cmd_rucio_butler import naming
from cmd_rucio_butler.commands import Wanted, mark_of
from cmd_rucio_butler.faults import Kind, RucioFault
from cmd_rucio_butler.server import RucioServer, Rule
from cmd_rucio_butler.settings import RucioSettings
from cmd_rucio_butler.watching import RuleWatch

LOG = logging.getLogger(__name__)

REMAKES = 3
"""How often a rule that somebody has deleted is made again in one attempt."""

EXPLAINED = 20
"""Files that could not be moved for which the transfer service's own words are asked for."""


@dataclass(frozen=True, slots=True)
class RuleEnd:
    """What became of a rule: all is moved, or what is not and why, by file name."""

    rule: Rule
    unmoved: Mapping[str, str] = field(default_factory=dict)
    error_class: ErrorClass = ErrorClass.PERMANENT


class RuleKeeper:
    """Makes one rule and sees it through. `boosts` overrides the settings' number."""

    def __init__(
        self,
        movement: Movement,
        link: Link,
        server: RucioServer,
        watch: RuleWatch,
        settings: RucioSettings,
        wanted: Wanted | None = None,
        boosts: int | None = None,
    ) -> None:
        self._movement = movement
        self._link = link
        self._server = server
        self._watch = watch
        self._settings = settings
        self._wanted = wanted or Wanted(naming.owner(movement))
        self._boosts_left = settings.boosts if boosts is None else min(boosts, settings.boosts)

    async def ensure(self, dataset: str, rse: str, files: int, lifetime: int | None = None) -> Rule:
        """The rule for a dataset at an RSE, made if there is none, and as it is wanted to be. Raises
        DriverError."""
        for _ in range(2):
            async with self._wanted.lock:
                rule = await self._made(dataset, rse, files, lifetime)
                if rule is not None:
                    rule = await self._wanted.obey(self._server, rule)
                if rule is not None:
                    self._wanted.rules.add(rule.id)
                    return rule
        raise self._deleted(dataset, rse)

    async def pin(self, dataset: str, rse: str, files: int, lifetime: int) -> None:
        """Have a rule hold a dataset where it is. Raises DriverError."""
        if await self._made(dataset, rse, files, lifetime) is None:
            raise self._deleted(dataset, rse)

    async def _made(self, dataset: str, rse: str, files: int, lifetime: int | None) -> Rule | None:
        settings, wanted = self._settings, self._wanted
        identity = await self._server.add_rule(
            dataset,
            rse,
            activity=settings.activity,
            priority=settings.priority if wanted.priority is None else wanted.priority,
            lifetime=lifetime,
            grouping="DATASET",
            notify="Y" if settings.stomp is not None else "N",
            # One that is to be suspended at once has nothing queued before.
            asynchronous=wanted.paused or files > settings.async_above,
            comment=naming.comment(self._movement),
            meta=naming.meta(self._movement, self._link),
        )
        if identity is not None:
            return await self._server.rule(identity)
        found = await self.find(dataset, rse)
        if found is None or found.owner in ("", naming.owner(self._movement)):
            return found  # one that a person made stays that person's
        # Of groups that need the same dataset, whoever came last has the rule, and lets it go.
        await self._server.update_rule(
            found.id,
            meta=naming.meta(self._movement, self._link),
            comment=naming.comment(self._movement) + mark_of(found),
            lifetime=lifetime,
        )
        return await self._server.rule(found.id)

    def _deleted(self, dataset: str, rse: str) -> DriverError:
        return DriverError(
            ErrorClass.TRANSIENT,
            f"{self._movement.group}: the rule for {dataset} at {rse} goes as soon as it is made",
        )

    async def find(self, dataset: str, rse: str) -> Rule | None:
        """The rule for a dataset at an RSE, if there is one. Raises DriverError."""
        found = [rule for rule in await self._server.rules_of(dataset) if rule.rse == rse]
        return found[0] if found else None

    async def see_through(self, rule: Rule, files: int, told: Callable[[Rule], None]) -> RuleEnd:
        """Wait until the rule is done or cannot be; `told` hears of each look at it. A server that
        cannot be asked is asked again for the settings' patience. Raises DriverError."""
        loop = asyncio.get_running_loop()
        remakes, pause, not_before = 0, self._settings.boost_s, loop.time()
        now: Rule | None = rule
        while True:
            if now is None:
                if remakes >= REMAKES:
                    raise DriverError(
                        ErrorClass.PERMANENT,
                        f"{self._movement.group}: somebody deletes the rule for {rule.name} at "
                        f"{rule.rse} again and again",
                    )
                remakes += 1
                now = rule = await self.ensure(
                    rule.name, rule.rse, files, self._settings.lifetime_s
                )
            told(now)
            if now.state == "OK":
                return RuleEnd(now)
            if not self._wanted.met_by(now):
                await self._obeyed(now)
            elif now.state == "SUSPENDED" and not self._wanted.paused:
                return await self._unmoved(now, "it is suspended")
            # A boosted rule keeps its date until Rucio has come by to try again.
            elif now.state == "STUCK" and now.updated_at != self._wanted.boosted.get(now.id):
                if self._boosts_left and loop.time() >= not_before:
                    self._boosts_left -= 1
                    not_before, pause = loop.time() + pause, pause * 2
                    await self._boost(now)
                elif not self._boosts_left and not now.replicating:
                    return await self._unmoved(now, "it is stuck")
            now = await self._next(rule)

    async def _next(self, rule: Rule) -> Rule | None:
        """The next sight of the rule; None if it is gone. Raises DriverError."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._settings.patience_s
        while True:
            try:
                with self._watch.waiting_for(rule):
                    seen = (await self._watch.look()).get(rule.id)
                # One made while the server was listing is not in the list either.
                return seen if seen is not None else await self._server.rule(rule.id)
            except DriverError as error:
                passes = isinstance(error, RucioFault) and error.kind.passes
                if error.error_class is ErrorClass.PERMANENT and not passes:
                    raise
                if loop.time() > give_up_at:
                    raise

    async def _obeyed(self, rule: Rule) -> None:
        """Have the rule be as it is wanted to be. Raises DriverError."""
        async with self._wanted.lock:
            now = await self._server.rule(rule.id)  # it may have been done meanwhile
            if now is not None:
                await self._wanted.obey(self._server, now)

    async def _boost(self, rule: Rule) -> None:
        """Have Rucio try again."""
        await self._server.update_rule(rule.id, boost_rule=True)
        boosted = await self._server.rule(rule.id)
        self._wanted.boosted[rule.id] = boosted.updated_at if boosted is not None else ""

    async def _unmoved(self, rule: Rule, why: str) -> RuleEnd:
        try:
            left = await self._server.unmoved(rule, EXPLAINED)
        except DriverError:
            left = []
        words = {
            each.lfn: f"Rucio could not move it to {rule.rse} in {each.attempts} tries: {each.error}"
            for each in left
        }
        rest = f"the rule {rule.id} for {rule.name} at {rule.rse} has not moved it: {why}"
        if rule.error:
            rest += f" ({rule.error[:300]})"
        # What is not named may have come: who looks at the destination decides.
        return RuleEnd(rule, {**words, "": rest})

    async def regain(self, rule: Rule, lfns: Sequence[str]) -> None:
        """See that Rucio does not take files for lost that a rule has brought, which is done, and that are
        seen there.

        Whoever suspends a rule in the moment in which its transfers end has their replicas set to
        UNAVAILABLE though their locks are OK (Rucio 41.5.1, `update_rule` against the conveyor's
        finisher): nothing would ever repair it, and they would be no source for anybody. Raises DriverError.
        """
        if not mark_of(rule):
            return
        server = self._server.within(rule.scope)
        held = set(await server.held_at(rule.rse, lfns))
        lost = [lfn for lfn in lfns if lfn not in held]
        if not lost:
            return
        try:
            await server.regain(rule.rse, lost)
        except RucioFault as fault:
            if fault.kind is not Kind.OPERATOR:
                raise
            LOG.warning(
                "%s: Rucio takes %d files for lost that are at %s, the first is %s; somebody has to set "
                "their replicas to AVAILABLE there, for we may not: %s",
                self._movement.group,
                len(lost),
                rule.rse,
                lost[0],
                fault,
            )

    async def release(self, dataset: str, rse: str) -> None:
        """Let a rule of ours go now: Rucio may remove what nothing else needs. Raises DriverError."""
        rule = await self.find(dataset, rse)
        if rule is not None and rule.owner == naming.owner(self._movement):
            await self._server.update_rule(rule.id, lifetime=0)
