"""The names the daemon gives: keys of attempts and Butler collections.

The same campaign file gives the same names on any machine: that is what makes a submission
idempotent, and lets a person find an attempt in any outside system.
"""

import re
from dataclasses import dataclass

CAMPAIGN_LENGTH = 100
STEP_LENGTH = 64
GROUP_LENGTH = 100
JOB_LENGTH = 64

NAME_RULE = "letters, digits, '.', '_' and '-', beginning with a letter or digit"
COLLECTION_RULE = "letters, digits and any of _ . + : @ # -, in parts joined by '/'"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_COLLECTION = re.compile(r"[\w.+:@#-]+(?:/[\w.+:@#-]+)*", re.ASCII)


def name_problem(name: str, longest: int) -> str | None:
    """What is wrong with a campaign's, step's or group's name, in words; None if it is good."""
    if not name:
        return "the name is empty"
    if len(name) > longest:
        return f"the name has {len(name)} characters, at most {longest} are allowed"
    if not _NAME.fullmatch(name):
        return f"a name is made of {NAME_RULE}"
    return None


def collection_problem(name: str) -> str | None:
    """What is wrong with a Butler collection's name, in words; None if it is good."""
    if len(name) > 200:
        return f"the collection's name has {len(name)} characters, at most 200 are allowed"
    if not _COLLECTION.fullmatch(name):
        return f"a collection's name is made of {COLLECTION_RULE}"
    return None


@dataclass(frozen=True, slots=True)
class KeyParts:
    """What the key of an attempt is made of."""

    campaign: str
    step: str
    group: str
    job: str
    attempt: int


def key(campaign: str, step: str, group: str, job: str, attempt: int) -> str:
    """The key of one attempt of one job, unique for ever: `{campaign}/{step}/{group}/{job}#{n}`."""
    return f"{campaign}/{step}/{group}/{job}#{attempt}"


def parse_key(text: str) -> KeyParts:
    """The parts of a key made by `key`. Raises ValueError for any other text."""
    names, hash_sign, number = text.rpartition("#")
    parts = names.split("/")
    limits = (CAMPAIGN_LENGTH, STEP_LENGTH, GROUP_LENGTH, JOB_LENGTH)
    good = (
        bool(hash_sign)
        and len(parts) == 4
        and re.fullmatch(r"[1-9][0-9]{0,8}", number) is not None
        and all(name_problem(p, n) is None for p, n in zip(parts, limits, strict=True))
    )
    if not good:
        raise ValueError(f"not the key of an attempt: {text[:200]!r}")
    return KeyParts(parts[0], parts[1], parts[2], parts[3], int(number))


def step_chain(output: str, step: str) -> str:
    """The step's chained collection; `output` is the campaign's `butler.output`."""
    return f"{output}/{step}"


def group_chain(output: str, step: str, group: str) -> str:
    """The group's chained collection."""
    return f"{output}/{step}/{group}"


def output_run(output: str, step: str, group: str, attempt: int) -> str:
    """The RUN collection that one attempt of the group's process job writes."""
    return f"{output}/{step}/{group}/a{attempt}"
