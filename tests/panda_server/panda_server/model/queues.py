"""The computing queues: what they are, whether they are online, and what a task finds there."""

import re
from dataclasses import dataclass
from typing import Any


@dataclass
class Queue:
    """A PanDA queue. Memory in MB per core slot of eight, wall time in seconds."""

    name: str
    cloud: str
    site: str
    role: str = "satellite"
    status: str = "online"
    type: str = "unified"
    max_rss: int = 16000
    max_time: int = 259200
    cores: int = 8
    scratch_mb: int = 100000

    def specs(self, resource_type: str | None = None) -> dict[str, Any]:
        """The queue as get_site_specs tells it; a resource type makes a sub-queue of it."""
        plain = resource_type is None
        name = self.name if plain else f"{self.name}/{resource_type}"
        rss = self.max_rss if plain else float(self.max_rss)
        return {
            "sitename": name,
            "nickname": self.name,
            "dq2url": None,
            "cloud": self.cloud,
            "ddm": "",
            "type": self.type,
            "releases": [],
            "memory": self.max_rss,
            "maxtime": self.max_time,
            "status": self.status,
            "setokens_output": {"default": {}},
            "defaulttoken": None,
            "validatedreleases": [],
            "maxinputsize": None,
            "comment": None,
            "statusmodtime": None,
            "pledgedCPU": 0,
            "coreCount": self.cores,
            "reliabilityLevel": None,
            "iscvmfs": False,
            "transferringlimit": 0,
            "maxwdir": self.scratch_mb,
            "fairsharePolicy": None,
            "mintime": 0,
            "allowfax": False,
            "pandasite": self.site,
            "corepower": 0,
            "wnconnectivity": None,
            "catchall": "allow_no_pilot",
            "role": self.role,
            "pandasite_state": "ACTIVE",
            "maxrss": rss,
            "minrss": 0 if plain else 0.0,
            "direct_access_lan": False,
            "direct_access_wan": False,
            "tier": None,
            "objectstores": [],
            "is_unified": plain,
            "unified_name": None if plain else self.name,
            "jobseed": None,
            "capability": "ucore",
            "workflow": "pull_ups",
            "maxDiskio": None,
            "extra_queue_params": {},
            "space": None,
        }


RUBIN_QUEUES = (
    Queue("SLAC_Rubin", "US", "SLAC", role="nucleus"),
    Queue("CC-IN2P3_Rubin", "EU", "CC-IN2P3"),
    Queue("LANCS_Rubin", "EU", "LANCS"),
)


class Queues:
    """The queues by name. The ones of the recordings are there from the start."""

    def __init__(self) -> None:
        self.by_name = {queue.name: Queue(**vars(queue)) for queue in RUBIN_QUEUES}

    def add(self, queue: Queue) -> None:
        """A further queue."""
        self.by_name[queue.name] = queue

    def __getitem__(self, name: str) -> Queue:
        return self.by_name[name]

    def specs(self, type_: str) -> dict[str, Any]:
        """The specs of the queues of one type, or of `all`: queues first, then sub-queues."""
        chosen = [q for q in self.by_name.values() if type_ in ("all", q.type)]
        plain = {queue.name: queue.specs() for queue in chosen}
        subs = [queue.specs("Undefined") for queue in chosen]
        return plain | {sub["sitename"]: sub for sub in subs}

    def candidates(self, cloud: str | None, site: str | None) -> list[Queue]:
        """The queues that a task names: by exact name, by a pattern, or the cloud's."""
        queues = list(self.by_name.values())
        if site in self.by_name:
            return [self.by_name[str(site)]]
        if site:
            queues = [queue for queue in queues if re.fullmatch(site, queue.name)]
        return [queue for queue in queues if not cloud or queue.cloud == cloud]
