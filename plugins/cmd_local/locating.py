"""Where the inputs of groups are: one question to each facility's Butler agent for all groups."""

import asyncio
from collections.abc import Mapping, Sequence

from cmd_daemon.hooks import DriverError, Held, Host, InputsHeld, InputsRequest

PAGE = 200
"""Data queries in one question to an agent."""
ANSWER_S = 120.0

Label = tuple[str, tuple[str, ...], tuple[str, ...]]


class ButlerLocator:
    """Asks the facilities' Butlers what they hold. Bytes are estimates, see the agent's operation
    `held_inputs`."""

    name = "butler"

    async def locate(
        self, requests: Sequence[InputsRequest], facilities: Sequence[str], host: Host
    ) -> Sequence[InputsHeld]:
        """See `InputLocator`. A facility without the repository, or without the collections, holds
        none."""
        answers = await asyncio.gather(*(_ask(requests, name, host) for name in facilities))
        told = dict(zip(facilities, answers, strict=True))
        return [
            InputsHeld(
                request.group,
                {name: held[at] for name, held in told.items() if not isinstance(held, str)},
                {name: reason for name, reason in told.items() if isinstance(reason, str)},
            )
            for at, request in enumerate(requests)
        ]


async def _ask(
    requests: Sequence[InputsRequest], facility: str, host: Host
) -> Mapping[int, Held] | str:
    """What a facility holds for each request, by its place; or why it could not be asked."""
    held: dict[int, Held] = {}
    try:
        butlers = host.facility(facility).butlers
        shares: dict[Label, list[int]] = {}
        for at, request in enumerate(requests):
            if request.butler in butlers:
                label = (request.butler, request.collections, request.datasets)
                shares.setdefault(label, []).append(at)
            else:
                held[at] = Held(0, 0)
        for (butler, collections, datasets), places in shares.items():
            for start in range(0, len(places), PAGE):
                page = places[start : start + PAGE]
                told = await host.agent(facility).call(
                    "held_inputs",
                    {
                        "repo": butler,
                        "collections": list(collections),
                        "datasets": list(datasets),
                        "wheres": [requests[at].where for at in page],
                    },
                    ANSWER_S,
                )
                for at, each in zip(page, told["held"], strict=True):
                    held[at] = Held(int(each["files"]), int(each["bytes"]))
    except KeyError:
        return f"there is no facility '{facility}' in the configuration"
    except DriverError as error:
        return str(error)
    return held
