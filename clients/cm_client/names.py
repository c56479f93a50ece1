"""Resource names `campaigns/x/steps/y/groups/z/jobs/j` and their short form `x/y/z/j`.

People type the short form; the daemon speaks the full one. Only the shape is checked here: which
characters a name may have is the daemon's rule.
"""

from dataclasses import dataclass

from cmd_api.v1.step_pb2 import NexusEntry

COLLECTIONS = ("campaigns", "steps", "groups", "jobs")
LEVELS = ("campaign", "step", "group", "job")


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a campaign, or of a step, group or job of it. Parts from the campaign down."""

    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.parts) <= len(LEVELS):
            raise ValueError(f"a name has 1 to {len(LEVELS)} parts, not {len(self.parts)}")
        if any(not part or "/" in part for part in self.parts):
            raise ValueError("no part of a name may be empty or hold a slash")

    @property
    def level(self) -> str:
        """campaign, step, group or job."""
        return LEVELS[len(self.parts) - 1]

    @property
    def full(self) -> str:
        """campaigns/x/steps/y ..."""
        pairs = zip(COLLECTIONS, self.parts, strict=False)
        return "/".join(f"{collection}/{part}" for collection, part in pairs)

    @property
    def short(self) -> str:
        """x/y ..."""
        return "/".join(self.parts)

    @property
    def parent(self) -> "Name":
        """The entity one level up. Raises ValueError for a campaign."""
        return Name(self.parts[:-1])

    def child(self, part: str) -> "Name":
        """The entity of that name one level down. Raises ValueError below a job."""
        return Name((*self.parts, part))


def parse_name(text: str) -> Name:
    """Read either form. The full form wins where a text could be both.

    Raises ValueError, with a sentence for people, if it is neither.
    """
    parts = text.split("/")
    if any(not part for part in parts):
        raise ValueError(f"{text!r} is not a name: write campaign[/step[/group[/job]]]")
    if len(parts) % 2 == 0 and tuple(parts[::2]) == COLLECTIONS[: len(parts) // 2]:
        return Name(tuple(parts[1::2]))
    if len(parts) > len(LEVELS):
        raise ValueError(f"{text!r} has too many parts: write campaign[/step[/group[/job]]]")
    return Name(tuple(parts))


def short_name(resource: str) -> str:
    """The short form of any resource name; what is not one of ours is given back as it is."""
    for collection in ("facilities/", "schedules/"):
        if resource.startswith(collection):
            return resource.removeprefix(collection)
    try:
        return parse_name(resource).short
    except ValueError:
        return resource


def campaign_name(campaign: str) -> str:
    """campaigns/{campaign}"""
    return Name((campaign,)).full


def step_name(campaign: str, step: str) -> str:
    """campaigns/{campaign}/steps/{step}"""
    return Name((campaign, step)).full


def group_name(campaign: str, step: str, group: str) -> str:
    """campaigns/{campaign}/steps/{step}/groups/{group}"""
    return Name((campaign, step, group)).full


def job_name(campaign: str, step: str, group: str, job: str) -> str:
    """campaigns/{campaign}/steps/{step}/groups/{group}/jobs/{job}"""
    return Name((campaign, step, group, job)).full


def facility_name(facility: str) -> str:
    """facilities/{facility}; a full name is given back as it is. Raises ValueError if empty."""
    return _single(facility, "facilities/", "facility")


def schedule_name(schedule: str) -> str:
    """schedules/{schedule}; a full name is given back as it is. Raises ValueError if empty."""
    return _single(schedule, "schedules/", "schedule")


def _single(name: str, collection: str, what: str) -> str:
    bare = name.removeprefix(collection)
    if not bare or "/" in bare:
        raise ValueError(f"{name!r} is not the name of a {what}")
    return f"{collection}{bare}"


def is_sum(entry: NexusEntry) -> bool:
    """Whether an entry of a nexus log counts all groups of a step rather than one group."""
    return "/groups/" not in entry.group
