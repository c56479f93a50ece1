"""The names that a movement has in Rucio. They follow from the order alone, so that whoever comes after
a crash finds what was made before it."""

import hashlib
import json
import re
from typing import Any

from cmd_local.moving.manifest import Link
from cmd_local.moving.orders import Movement

LONGEST = 240
"""Characters of a name; Rucio takes 250, the rest is for a generation's number."""

COMMENT = 230
"""Characters of a comment; Rucio takes 250, the rest is for what is told there later."""

META = 3999

_FOREIGN = re.compile(r"[^A-Za-z0-9._-]+")
_LFN = re.compile(r"^[A-Za-z0-9][/A-Za-z0-9._-]{0,249}$")


def dataset_name(movement: Movement, link: Link, generation: int = 1) -> str:
    """The dataset of all that a movement sends from one facility. A scatter has one for each
    destination, since each gets its own share. A closed dataset takes no more files: what comes
    later goes to the next generation."""
    order = movement.order
    kind = f"{movement.name}-{link.destination}" if movement.name == "scatter" else movement.name
    name = _path("Dataset", order.campaign, order.step, order.group, link.source, kind)
    return name if generation == 1 else f"{name}.{generation}"


def step_container(movement: Movement) -> str:
    """The container of a step's datasets."""
    return _path("Container", movement.order.campaign, movement.order.step)


def campaign_container(movement: Movement) -> str:
    """The container of a campaign's steps."""
    return _path("Container", movement.order.campaign)


def zip_directory(movement: Movement) -> str:
    """Where a movement's zips lie, below the root of the files at their source."""
    order = movement.order
    return _path("zips", order.campaign, order.step, order.group, movement.name)


def comment(movement: Movement) -> str:
    """A rule's comment, for people."""
    return f"cmd {movement.group} {movement.name}"[:COMMENT]


def meta(movement: Movement, link: Link) -> str:
    """A rule's meta: whose it is, as JSON."""
    order = movement.order
    told = {
        "campaign": order.campaign,
        "step": order.step,
        "group": order.group,
        "movement": movement.name,
        "source": link.source,
        "destination": link.destination,
        "key": order.key,
    }
    return json.dumps({"cmd": told})[:META]


def owner(movement: Movement) -> str:
    """Whose a rule is: the movement of a group, whatever its attempt."""
    return f"{movement.group}/{movement.name}"


def owner_of(meta: Any) -> str:
    """The owner that a rule's meta tells of, as Rucio gives it back; "" if that is not ours."""
    told = meta
    for _ in range(3):  # Rucio puts JSON into JSON, once for each change
        if isinstance(told, str):
            try:
                told = json.loads(told)
            except ValueError:
                return ""
    ours = told.get("cmd") if isinstance(told, dict) else None
    if not isinstance(ours, dict):
        return ""
    return "/".join(str(ours.get(each)) for each in ("campaign", "step", "group", "movement"))


def lfn_problem(lfn: str) -> str:
    """Why Rucio would not take this file name, in words; empty if it would."""
    if _LFN.match(lfn):
        return ""
    return (
        f"its path '{lfn}' is no name for Rucio (at most 250 of letters, digits and / . - _, "
        "beginning with a letter or digit)"
    )


def _path(*parts: str) -> str:
    name = "/".join(_FOREIGN.sub("_", part).strip(".") or "_" for part in parts)
    if len(name) > LONGEST:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = f"{name[: LONGEST - 17]}-{digest}"
    return name
