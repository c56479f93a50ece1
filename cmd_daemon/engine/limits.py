"""Limits of a facility that persons change while the daemon runs: kept as JSON, applied over the
configuration."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cmd_daemon.hooks.ports import FacilityInfo


@dataclass(frozen=True, slots=True)
class Limits:
    """What was changed; None and missing names keep the configured value. `memory` in bytes,
    `walltime_s` in seconds; `lanes` and `queues` map drivers and memory classes to jobs at a time."""

    slots: int | None = None
    memory: int | None = None
    cores: int | None = None
    walltime_s: float | None = None
    lanes: Mapping[str, int] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)

    def over(self, former: "Limits") -> "Limits":
        """These limits, and those of `former` for which these have nothing."""
        said = {name: value for name, value in _said(self).items() if not isinstance(value, dict)}
        return replace(
            former,
            **said,
            lanes={**former.lanes, **self.lanes},
            queues={**former.queues, **self.queues},
        )

    def text(self) -> str | None:
        """The limits as JSON; None if nothing is changed."""
        said = _said(self)
        return json.dumps(said, sort_keys=True) if said else None


def _said(limits: Limits) -> dict[str, Any]:
    return {name: value for name, value in asdict(limits).items() if value not in (None, {})}


def read(text: str | None) -> Limits:
    """The limits that `Limits.text` wrote."""
    return Limits(**json.loads(text)) if text else Limits()


def applied(info: FacilityInfo, limits: Limits) -> FacilityInfo:
    """The facility with its limits changed. Memory classes that no longer exist are passed over."""
    return replace(
        info,
        slots=info.slots if limits.slots is None else limits.slots,
        memory=info.memory if limits.memory is None else limits.memory,
        cores=info.cores if limits.cores is None else limits.cores,
        walltime_s=info.walltime_s if limits.walltime_s is None else limits.walltime_s,
        queues=tuple(
            replace(queue, slots=limits.queues.get(queue.name, queue.slots))
            for queue in info.queues
        ),
    )


def lane_limit(limits: Limits, driver: str, configured: int, own: bool) -> int:
    """Jobs at a time of one driver. `own`: the configuration gives it a limit beside the slots."""
    if driver in limits.lanes:
        return limits.lanes[driver]
    return configured if own or limits.slots is None else limits.slots
