"""Where inputs are that Rucio knows: the datasets that a site's patterns name, and their replicas."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cmd_daemon.hooks import Held, Host, InputsHeld, InputsRequest
from cmd_rucio_butler import inputs
from cmd_rucio_butler.replicas import Replica
from cmd_rucio_butler.server import RucioServer
from cmd_rucio_butler.settings import NAME, RucioSettings, rucio_settings
from cmd_rucio_butler.sharing import Servers

REMEMBERED_S = 300.0
"""For how long what Rucio said of a dataset is taken to hold."""

WILD = "*"


Name = tuple[str, str, str]
"""A name in Rucio: the identity of its server, its scope, and itself."""


@dataclass(slots=True)
class _Known:
    """What Rucio said lately, each with the time (microseconds): datasets by pattern, replicas by
    dataset."""

    listed: dict[Name, tuple[int, list[Name]]] = field(default_factory=dict)
    replicas: dict[Name, tuple[int, list[Replica]]] = field(default_factory=dict)

    def since(self, then: int) -> "_Known":
        """What is not older."""
        return _Known(
            {name: each for name, each in self.listed.items() if each[0] >= then},
            {name: each for name, each in self.replicas.items() if each[0] >= then},
        )


class RucioLocator:
    """Says what the RSEs of facilities hold of the datasets with a group's inputs.

    It answers for a group only if each of its dataset types has a pattern (`inputs` of a facility's
    settings) that the group's data query fills, there are such datasets with files, and each
    facility asked about has an RSE. For other groups another locator has to answer. A dataset counts
    as a whole, also where only part of it is the group's.
    """

    name = NAME

    def __init__(self) -> None:
        self._known = _Known()

    async def locate(
        self, requests: Sequence[InputsRequest], facilities: Sequence[str], host: Host
    ) -> Sequence[InputsHeld]:
        """See `InputLocator`; groups it can say nothing of are left out. One question to Rucio for all
        datasets; of those that its summary does not show whole at each facility, files are counted one
        dataset after the other: the summary knows only RSEs with a rule. Raises DriverError."""
        infos = [host.facility(name) for name in facilities]
        if not infos or any(NAME not in info.settings for info in infos):
            return []
        settings = {info.name: rucio_settings(info) for info in infos}
        who = object()
        servers = Servers.of(host)
        now = host.now()
        # Another question at the same time keeps what it began with.
        known = self._known = self._known.since(now - round(REMEMBERED_S * 1e6))
        wanted = {each.group: _wanted(each, settings.values()) for each in requests}
        patterns = {name for types in wanted.values() for names in types for name in names}
        asked = {each.identity(): each for each in settings.values()}
        try:
            at = {
                (identity, scope): servers.at(asked[identity], who).server.within(scope)
                for identity, scope, _ in patterns
            }
            await asyncio.gather(*(_list(at[each[:2]], each, known, now) for each in patterns))
            rses = {name: each.rses for name, each in settings.items()}
            for place, server in at.items():
                mine = (each for each in patterns if each[:2] == place)
                found = {name for each in mine for name in known.listed[each][1]}
                await _look(server, found, rses.values(), known, now)
        finally:
            await servers.let_go(who)
        answers = (_answer(each.group, wanted[each.group], rses, known) for each in requests)
        return [each for each in answers if each is not None]


def named(dataset_type: str, where: str, settings: Iterable[RucioSettings]) -> list[Name]:
    """The names, or patterns of names, of the datasets with what a data query asks of a dataset type; none
    if nobody has a pattern for it, or the query leaves a field of it open."""
    told = next((each for each in settings if dataset_type in each.inputs), None)
    return [] if told is None else filled(told.inputs[dataset_type], where, told)


def filled(pattern: str, where: str, settings: RucioSettings) -> list[Name]:
    """The names that a pattern, with or without `SCOPE:`, has for a data query."""
    scope, _, name = pattern.rpartition(":")
    found = inputs.names(name, where)
    return [(settings.identity(), scope or settings.scope, each) for each in found]


def _wanted(request: InputsRequest, settings: Collection[RucioSettings]) -> list[list[Name]]:
    """For each dataset type of a request the patterns of the names of its datasets; nothing at all if
    one of them has none."""
    types = [named(each, request.where, settings) for each in request.datasets]
    return types if all(types) else []


async def _list(server: RucioServer, pattern: Name, known: _Known, now: int) -> None:
    """Find the datasets of a pattern."""
    if pattern not in known.listed:
        found = [pattern]
        if WILD in pattern[2]:
            told = await server.datasets_named(pattern[2])
            found = [(*pattern[:2], name) for name in told]
        known.listed[pattern] = (now, found)


async def _look(
    server: RucioServer,
    names: Iterable[Name],
    rses: Collection[Sequence[str]],
    known: _Known,
    now: int,
) -> None:
    """Ask for the replicas of datasets of one scope."""
    new = {name[2]: name for name in sorted(names) if name not in known.replicas}
    told: dict[str, list[Replica]] = {name: [] for name in new}
    for each in await server.replicas(list(new)):
        told[each.name].append(each)

    async def look(name: str) -> None:
        whole = {each.rse for each in told[name] if each.whole}
        if not all(whole.intersection(mine) for mine in rses):
            told[name] = await server.counted_replicas(name)
        known.replicas[new[name]] = (now, told[name])

    await asyncio.gather(*(look(name) for name in new))


def _answer(
    group: str,
    types: Sequence[Sequence[Name]],
    rses: Mapping[str, Sequence[str]],
    known: _Known,
) -> InputsHeld | None:
    """What the facilities hold of a group's inputs; None if of some type there is nothing at all."""
    sums = {facility: Held(0, 0) for facility in rses}
    for patterns in types:
        names = {name for pattern in patterns for name in known.listed[pattern][1]}
        replicas = [known.replicas[name][1] for name in names]
        if not any(each.files for mine in replicas for each in mine):
            return None
        for facility, mine in rses.items():
            for each in replicas:
                # Files may be at more than one RSE of a facility: they count once.
                here = [(r.files, r.bytes) for r in each if r.rse in mine]
                files, size = max(here, default=(0, 0))
                now = sums[facility]
                sums[facility] = Held(now.files + files, now.bytes + size)
    return InputsHeld(group, sums) if types else None
