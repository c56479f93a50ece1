"""A probe whose answers a test chooses."""

import asyncio
from collections import Counter

from cmd_daemon.hooks import Check, FacilityInfo, FacilityReport, Host, QueueState, Storage


class FakeProbe:
    """The probe `fake`: all is well until a test says otherwise, for each facility on its own.

    `looks` counts the looks at each facility that have been answered.
    """

    name = "fake"

    def __init__(self) -> None:
        self.looks: Counter[str] = Counter()
        self._checks: dict[str, dict[str, Check]] = {}
        self._storage: dict[str, dict[str, Storage]] = {}
        self._queues: dict[str, dict[str, QueueState]] = {}
        self._broken: dict[str, Exception] = {}
        self._closed: dict[str, asyncio.Event] = {}

    def fail(
        self, facility: str, check: str = "fake", message: str = "it is away", vital: bool = True
    ) -> None:
        """From now on a check of a facility fails."""
        self._checks.setdefault(facility, {})[check] = Check(check, False, message, vital)

    def heal(self, facility: str) -> None:
        """From now on all is well at a facility."""
        self._checks.pop(facility, None)
        self._broken.pop(facility, None)
        if (gate := self._closed.pop(facility, None)) is not None:
            gate.set()

    def fill(self, facility: str, element: str, free: int | None, total: int | None = None) -> None:
        """From now on a storage element of a facility has so many bytes free."""
        elements = self._storage.setdefault(facility, {})
        elements[element] = Storage(element, f"/{element}", free, total)

    def tell_queue(self, facility: str, state: QueueState) -> None:
        """From now on the outside system says this about a queue of a facility."""
        self._queues.setdefault(facility, {})[state.queue] = state

    def break_down(self, facility: str, error: Exception) -> None:
        """From now on a look at a facility raises."""
        self._broken[facility] = error

    def hang(self, facility: str) -> None:
        """From now on a look at a facility takes until it is healed."""
        self._closed[facility] = asyncio.Event()

    async def look(self, facility: FacilityInfo, host: Host) -> FacilityReport:
        """What the test said."""
        name = facility.name
        if (gate := self._closed.get(name)) is not None:
            await gate.wait()
        self.looks[name] += 1
        if name in self._broken:
            raise self._broken[name]
        checks = self._checks.get(name) or {"fake": Check("fake", True)}
        elements = self._storage.get(name) or {
            element: Storage(element, path, None, None)
            for element, path in facility.storage.items()
        }
        queues = self._queues.get(name, {})
        return FacilityReport(
            tuple(elements.values()), tuple(checks.values()), queues=tuple(queues.values())
        )
