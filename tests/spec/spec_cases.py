"""What the tests of the campaign file are checked against: two small daemons."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from cmd_daemon.hooks.ports import DataShare, FacilityInfo, SplitRequest
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.spec import CampaignFileError, CampaignPlan, Known, read_campaign

ROOT = Path(__file__).resolve().parents[2]
GB = 10**9


class StrictSplitter:
    """A splitter that only knows some keys, like the real ones."""

    needs_facility = False

    def __init__(self, name: str, keys: frozenset[str]) -> None:
        self.name = name
        self._keys = keys

    def check(self, params: Mapping[str, Any]) -> Sequence[str]:
        return [
            f"{k} is not a key of splitter '{self.name}'" for k in params if k not in self._keys
        ]

    async def split(self, request: SplitRequest, host: object = None) -> Sequence[DataShare]:
        values = request.params.get("values") or ["all"]
        by = request.params.get("by", "")
        return [DataShare(str(v), where=f"{by} = {v}" if by else "", size=3) for v in values]


SPLITTERS = {
    s.name: s
    for s in (
        StrictSplitter("none", frozenset()),
        StrictSplitter("values", frozenset({"by", "values", "ranges", "size", "count"})),
        StrictSplitter(
            "query",
            frozenset({"by", "size", "count", "max_quanta", "datasets", "where", "per", "within"}),
        ),
        StrictSplitter("healpix", frozenset({"order"})),
    )
}


def facility(
    name: str, *, memory: int = 600 * GB, cores: int = 64, kinds: Any = JobKind
) -> FacilityInfo:
    return FacilityInfo(
        name=name,
        slots=100,
        memory=memory,
        cores=cores,
        walltime_s=4 * 86_400.0,
        butlers={"dp2": f"/repo/{name}"},
        stacks={"w_2026_46": "/stack/python"},
        drivers=dict.fromkeys(kinds, "panda"),
    )


FULL = Known(
    facilities={n: facility(n) for n in ("USDF", "FrDF", "UKDF")},
    splitters=SPLITTERS,
    algorithms=frozenset({"pinned", "share", "locality", "balanced"}),
    drivers=frozenset({"panda", "local"}),
    kinds=frozenset(JobKind),
)

_LOCAL_KINDS = (JobKind.PROCESS, JobKind.SCRIPT, JobKind.COLLECT)
SMALL = Known(
    facilities={"LOCAL": facility("LOCAL", memory=4 * GB, cores=2, kinds=_LOCAL_KINDS)},
    splitters=SPLITTERS,
    algorithms=frozenset({"pinned"}),
    drivers=frozenset({"local"}),
    kinds=frozenset(_LOCAL_KINDS),
)

HEAD = """\
campaign: toy
owner: pilot1
stack: w_2026_46
butler: {repo: dp2, inputs: [HSC/defaults], output: u/pilot1/toy}
facilities: [USDF, FrDF]
"""
"""Five lines; what follows them begins in line 6."""


def read(text: str | bytes, known: Known = FULL, **parameters: str) -> CampaignPlan:
    return read_campaign(text, file="toy.yaml", parameters=parameters, known=known)


def campaign(tail: str, known: Known = FULL, **parameters: str) -> CampaignPlan:
    """The plan of `HEAD` with `tail` after it."""
    return read(HEAD + dedent(tail), known, **parameters)


def complaints(text: str | bytes, known: Known = FULL, **parameters: str) -> list[str]:
    """The problems of a whole file as people see them; fails the test if there are none."""
    with pytest.raises(CampaignFileError) as caught:
        read(text, known, **parameters)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(p) for p in caught.value.problems]


def complaints_after_head(tail: str, known: Known = FULL, **parameters: str) -> list[str]:
    return complaints(HEAD + dedent(tail), known, **parameters)
