"""The outbox as it stands: intents that are committed and have no answer yet. O(1) an intent."""

from collections.abc import Iterable, Mapping

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.kernel.records import Effect

Line = tuple[str, str, str]
"""Facility, driver and verb."""


class Outbox:
    """What the table `effects` holds, by facility, driver and verb, oldest first."""

    def __init__(self) -> None:
        self._lines: dict[Line, dict[str, int]] = {}
        self._line_of: dict[str, Line] = {}

    def load(self, effects: Iterable[Effect]) -> None:
        """After recovery: the intents of the former daemon, which keep their age."""
        for effect in sorted(effects, key=lambda each: each.at):
            self._add(effect)

    def note(self, batch: Batch) -> None:
        """Take in what has been committed."""
        for key in batch.effects_done:
            self._drop(key)
        for effect in batch.effects.values():
            self._drop(effect.key)
            self._add(effect)

    def _add(self, effect: Effect) -> None:
        line = (effect.facility, effect.driver, effect.verb)
        self._line_of[effect.key] = line
        self._lines.setdefault(line, {})[effect.key] = effect.at

    def _drop(self, key: str) -> None:
        line = self._line_of.pop(key, None)
        if line is not None:
            del self._lines[line][key]

    def waiting(self) -> Mapping[Line, tuple[int, int | None]]:
        """How many wait on each line that ever had one, and since when the oldest (microseconds UTC;
        None if there is none)."""
        return {
            line: (len(open_), next(iter(open_.values()), None))
            for line, open_ in self._lines.items()
        }
