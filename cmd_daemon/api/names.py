"""Resource names: `campaigns/{c}/steps/{s}/groups/{g}/jobs/{j}`, `facilities/{f}` and `schedules/{s}`."""

import re
from dataclasses import dataclass

import grpc

from cmd_daemon.api.errors import ApiError

_LEVELS = ("campaigns", "steps", "groups", "jobs")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class Path:
    """The parts of a resource name below `campaigns/`; what is not named is empty."""

    campaign: str
    step: str = ""
    group: str = ""
    job: str = ""

    @property
    def depth(self) -> int:
        """1 for a campaign, 4 for a job."""
        return sum(bool(part) for part in (self.campaign, self.step, self.group, self.job))

    def __str__(self) -> str:
        parts = zip(_LEVELS, (self.campaign, self.step, self.group, self.job), strict=True)
        return "/".join(f"{level}/{part}" for level, part in parts if part)


def parse(name: str, *depths: int) -> Path:
    """The parts of a name of one of these depths. Raises ApiError INVALID_NAME."""
    parts = name.split("/")
    keys, values = parts[0::2], parts[1::2]
    good = (
        len(parts) % 2 == 0
        and 1 <= len(values) <= 4
        and tuple(keys) == _LEVELS[: len(keys)]
        and all(_PART.fullmatch(value) for value in values)
        and len(values) in depths
    )
    if not good:
        patterns = " or ".join(
            "/".join(f"{level}/{{{level[:-1]}}}" for level in _LEVELS[:depth]) for depth in depths
        )
        raise ApiError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_NAME",
            f"{name[:200]!r} is not a name of the form {patterns}.",
            {"name": name[:200]},
        )
    return Path(*values)


def parse_facility(name: str) -> str:
    """The facility of `facilities/{facility}`. Raises ApiError INVALID_NAME."""
    return _single(name, "facilities", "facility")


def parse_schedule_name(name: str) -> str:
    """The schedule of `schedules/{schedule}`. Raises ApiError INVALID_NAME."""
    return _single(name, "schedules", "schedule")


def _single(name: str, collection: str, what: str) -> str:
    prefix, _, found = name.partition("/")
    if prefix != collection or not _PART.fullmatch(found):
        raise ApiError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_NAME",
            f"{name[:200]!r} is not a name of the form {collection}/{{{what}}}.",
            {"name": name[:200]},
        )
    return found
