"""The names of the jobs at a computing element, each asked for once."""

from cmd_housekeeping.arc_states import activity_of
from cmd_housekeeping.arex import Arex, first


class JobNames:
    """What the computing element's own list says; a job's name never changes.

    `nameless` are listed jobs whose name the element does not tell yet.
    """

    def __init__(self, arex: Arex) -> None:
        self._arex = arex
        self._names: dict[str, str] = {}
        self._created: dict[str, str] = {}
        self.nameless: set[str] = set()

    def learn(self, job: str, name: str) -> None:
        """Take note of a job we have just submitted."""
        self._names[job] = name

    async def refresh(self) -> None:
        """Ask for the list, and in sets for the names not known yet. Raises DriverError."""
        ids = set(await self._arex.list_ids())
        for gone in self._names.keys() - ids:
            del self._names[gone]
            self._created.pop(gone, None)
        self.nameless = set()
        unknown = ids - self._names.keys()
        for job, told in (await self._arex.act("info", sorted(unknown))).items():
            if told["status-code"] == 404:
                continue
            activity = activity_of(told)
            if activity is None:
                self.nameless.add(job)
                continue
            self._names[job] = first(activity.get("Name"))
            self._created[job] = first(activity.get("CreationTime"))

    def jobs_named(self, name: str) -> list[str]:
        """The ids of the jobs of this name, the oldest first."""
        ids = [job for job, its in self._names.items() if its == name]
        return sorted(ids, key=lambda job: (self._created.get(job) or "~", job))
