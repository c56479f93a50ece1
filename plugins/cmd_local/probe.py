"""Looking at a facility: the room in its storage elements, its transport, its Butler agent."""

import asyncio
import contextlib

from cmd_daemon.hooks import (
    Agent,
    Check,
    DriverError,
    ErrorClass,
    FacilityInfo,
    FacilityReport,
    Host,
    Ran,
    Storage,
)

LOOK_S = 20.0
"""How long one look may take; an agent that is only just starting needs some seconds."""
AGAIN_S = 0.5
"""Seconds between two questions to an agent that has died."""


class LocalProbe:
    """Looks at any facility whose transport runs commands.

    The checks are `transport` and, where the facility has an agent, `agent`; both are vital. Room is
    what `df` of GNU coreutils tells for each path, for the account of the transport; it knows nothing
    of quotas.
    """

    name = "local"

    async def look(self, facility: FacilityInfo, host: Host) -> FacilityReport:
        """See `FacilityProbe`; the parts are looked at at the same time."""
        try:
            agent: Agent | None = host.agent(facility.name)
        except DriverError:
            agent = None
        asking = None if agent is None else asyncio.create_task(_look_at_agent(facility, agent))
        try:
            storage, transport = await _look_at_storage(facility, host)
            if asking is None:
                return FacilityReport(storage, (transport,))
            if not transport.ok and not asking.done():
                # Nobody can start it again there; an answer would come from before.
                message = f"not asked, since the transport fails: {transport.message}"
                return FacilityReport(storage, (transport, Check("agent", False, message)))
            return FacilityReport(storage, (transport, await asking))
        finally:
            if asking is not None:
                asking.cancel()


async def _look_at_storage(facility: FacilityInfo, host: Host) -> tuple[tuple[Storage, ...], Check]:
    """The storage elements, and whether the transport runs commands."""
    paths = list(dict.fromkeys(facility.storage.values()))
    argv = ["df", "-B1", "--output=size,avail,file", "--", *paths] if paths else ["true"]
    try:
        async with asyncio.timeout(LOOK_S):
            ran = await host.transport(facility.name).run(argv, {"LC_ALL": "C"}, timeout_s=LOOK_S)
    except KeyError:
        problem = f"facility {facility.name} has no transport '{facility.transport}'"
    except TimeoutError:
        problem = f"no answer within {LOOK_S:g} s"
    except DriverError as error:
        problem = str(error)
    else:
        return _rooms(facility, ran), Check("transport", ok=True)
    unknown = (
        Storage(name, path, None, None, problem) for name, path in sorted(facility.storage.items())
    )
    return tuple(unknown), Check("transport", ok=False, message=problem)


def _rooms(facility: FacilityInfo, ran: Ran) -> tuple[Storage, ...]:
    """The storage elements as `df` told of them."""
    told: dict[str, tuple[int, int]] = {}
    for line in ran.stdout.decode(errors="replace").splitlines():
        words = line.split(None, 2)
        if len(words) == 3 and words[0].isdigit() and words[1].isdigit():
            told[words[2]] = (int(words[0]), int(words[1]))
    problems = ran.stderr.decode(errors="replace").splitlines()
    found = []
    for name, path in sorted(facility.storage.items()):
        if path in told:
            total, free = told[path]
            found.append(Storage(name, path, free, total))
            continue
        words = [line for line in problems if path in line] or problems[-1:]
        found.append(
            Storage(name, path, None, None, words[0] if words else f"df does not tell {path}")
        )
    return tuple(found)


async def _look_at_agent(facility: FacilityInfo, agent: Agent) -> Check:
    """Whether the agent answers; one that has just died has the time to start again."""
    message = f"agent of facility {facility.name}: no answer within {LOOK_S:g} s"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_S):
            while True:
                try:
                    await agent.call("ping", {}, LOOK_S)
                except DriverError as error:
                    message = str(error)
                    if error.error_class is ErrorClass.PERMANENT:
                        break
                else:
                    return Check("agent", ok=True)
                await asyncio.sleep(AGAIN_S)
    return Check("agent", ok=False, message=message)
