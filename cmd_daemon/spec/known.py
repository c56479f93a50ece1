"""What a campaign file is checked against: what exists in this daemon."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cmd_daemon.hooks.ports import FacilityInfo, Splitter
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.spec.model import PlacementSection, StepSection
from cmd_daemon.spec.splitting import Splits


@dataclass(frozen=True, slots=True)
class Known:
    """What exists in this daemon: facilities by name, splitters by name, placement algorithms,
    drivers by name, and the job kinds that some driver serves."""

    facilities: Mapping[str, FacilityInfo]
    splitters: Mapping[str, Splitter]
    algorithms: frozenset[str]
    drivers: frozenset[str]
    kinds: frozenset[JobKind]


@dataclass(frozen=True, slots=True)
class StepKnown:
    """What a step's check needs to know: the daemon, the campaign's facilities by name, the
    facilities at which the step may run, the splits of the file, the label of the Butler repository,
    the placement of the step's groups, and the steps before it with their defaults."""

    known: Known
    facilities: list[str]
    candidates: Mapping[str, FacilityInfo]
    splits: Splits
    butler: str
    placement: PlacementSection
    before: Sequence[StepSection]
