"""Placement: the question which facility runs a group, what is known when it is asked, the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cmd_daemon.hooks.ports import FacilityInfo, Queue


@dataclass(frozen=True, slots=True)
class Held:
    """How much of a group's inputs some place holds: files and bytes."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Link:
    """The way data come to a facility from another one: bytes a second lately (None: not measured),
    bytes that already wait for it, and whether nothing may be sent over it now."""

    bytes_per_s: float | None = None
    backlog_bytes: int = 0
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """A group to place: its step's placement plan, what it asks for, and where its region already is.

    What nobody knows keeps its default, and no selector may judge by it. `inputs` says what each
    facility holds of the group's inputs, `inputs_total` how much there is; once the total is known, a
    facility that is not named holds none. `output_bytes` estimates the most storage the group
    needs for what it writes, intermediates included. `former` is the facility of the group's last
    placement, when it is asked for again. `region_ran` says whether any group of the region has been
    started at `region_at` (unknown counts as yes: its intermediates would be left behind). `exclude`
    are facilities to be taken as down, for "what if". `params` are the algorithm's parameters. `at_why`
    says in words why `at` is asked for where it is not the step's own: a person has moved the group.
    """

    campaign: str
    step: str
    group: str
    algorithm: str
    facilities: tuple[str, ...]
    at: str | None
    shares: Mapping[str, float]
    pins: Mapping[str, str]
    region: str | None
    region_at: str | None
    share: Mapping[str, Any]
    memory: int
    cores: int
    walltime_s: float
    stack: str
    butler: str
    inputs: Mapping[str, Held] = field(default_factory=dict)
    inputs_total: Held | None = None
    output_bytes: int | None = None
    former: str | None = None
    region_ran: bool | None = None
    exclude: frozenset[str] = frozenset()
    params: Mapping[str, Any] = field(default_factory=dict)
    at_why: str = ""


@dataclass(frozen=True, slots=True)
class FacilityView:
    """A facility at this moment: its configuration, whether it takes work, and its load.
    `running` and `queued` count our jobs; `placed` the campaign's groups placed there so far.

    What is not known keeps its default, and no selector may judge by it. `placed_by` counts the groups
    placed there so far by campaign (a campaign without any may be left out). `queues` are its memory
    classes; without them the configuration's limits hold. Where the outside system tells of its queues,
    those that take no jobs are left out, its limits hold too, and its jobs of everybody count if they
    are more than ours. `free_bytes` and `total_bytes` are those of
    its storage, `claimed_bytes` what placed groups have yet to write. `throughput` is the
    number of jobs finished in an hour lately, None also if there was nothing to do. `links` are the ways
    data come to it, by the facility they come from; a facility not named in it has no way.
    """

    info: FacilityInfo
    up: bool
    reason: str
    running: int
    queued: int
    placed: Mapping[str, int]
    placed_by: Mapping[str, int] | None = None
    queues: tuple[Queue, ...] = ()
    free_bytes: int | None = None
    total_bytes: int | None = None
    claimed_bytes: int = 0
    throughput: float | None = None
    links: Mapping[str, Link] | None = None


@dataclass(frozen=True, slots=True)
class Factor:
    """One line of a placement decision: what was looked at, at which facility, and what it gave.
    A filter passes (1.0) or fails (0.0); a weight multiplies the score."""

    facility: str
    name: str
    value: float
    passed: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """The decision for one group. `facility` is None when no facility will do now: `reason` says
    why in words and the group is asked for again later. `claims` are the bytes it will need there, if
    anybody knows: until the group ends they count as `claimed_bytes` of the facility."""

    group: str
    facility: str | None
    reason: str
    factors: tuple[Factor, ...] = ()
    permanent: bool = False
    claims: int | None = None


class Selector(Protocol):
    """Decides where groups run, in sets."""

    algorithms: frozenset[str]

    async def select(
        self, requests: Sequence[PlacementRequest], facilities: Sequence[FacilityView]
    ) -> Sequence[Placement]:
        """One decision for each request. With `permanent` and no facility the group is held."""
