"""What the engine knows of places: regions, counts, claims, pace, and the room of a facility."""

from dataclasses import replace

from engine_house import HERE, THERE, facility

from cmd_daemon.engine.pace import MINUTE, Pace
from cmd_daemon.engine.questions import Questions
from cmd_daemon.engine.regions import Regions
from cmd_daemon.hooks import Storage
from cmd_daemon.hooks.placement import Link
from cmd_daemon.hooks.ports import Queue
from cmd_daemon.kernel.entities import Campaign, Group, Step
from cmd_daemon.kernel.policy import PlacementPlan, StepPolicy
from cmd_daemon.kernel.records import PlacedBefore
from cmd_daemon.kernel.states import GroupState
from cmd_daemon.kernel.view import View
from cmd_daemon.testing import FakeClock

FREE, APART = 10, 11
"""A step whose groups may go anywhere, and one that says at."""


def view() -> View:
    """A campaign of two steps."""
    found = View()
    pinned = StepPolicy(placement=PlacementPlan(at=HERE))
    found.load(
        [Campaign(1, "camp", "me", 0)],
        [Step(FREE, 1, "free", 0, StepPolicy()), Step(APART, 1, "apart", 1, pinned)],
        [],
        [],
    )
    return found


def group(ident: int = 100, step: int = FREE, **fields: object) -> Group:
    """A group of region tract/1."""
    values = {"region": "tract/1", "state": GroupState.PLACED, **fields}
    return Group(ident, 1, step, str(ident), "{}", **values)  # type: ignore[arg-type]


def test_a_group_placed_again_is_counted_once_and_remembers_where_it_was() -> None:
    regions = Regions(view())
    regions.note(group(facility=HERE))
    regions.note(group(facility=HERE, state=GroupState.RUNNING, started_at=1))
    assert regions.ran(group(), HERE)
    assert not regions.ran(group(), THERE)
    regions.note(group(state=GroupState.READY))
    assert regions.former == {100: HERE}
    regions.note(group(facility=THERE))
    assert dict(regions.at(1).counts) == {HERE: 0, THERE: 1}
    assert (regions.former, regions.of[1]) == ({}, {"tract/1": THERE})
    assert {name: list(ids) for name, ids in regions.placed.items()} == {HERE: [], THERE: [100]}
    regions.note(group(facility=THERE, state=GroupState.ACCEPTED, started_at=1))
    assert regions.at(1).counts[THERE] == 1, "what is over still counts"
    assert not regions.placed[THERE]


def test_what_the_store_told_is_not_counted_again() -> None:
    regions = Regions(view())
    before = PlacedBefore({"tract/1": THERE}, {HERE: 3}, {("tract/1", HERE)}, {101: HERE})
    regions.load(1, before)
    regions.adopt(group(facility=HERE))
    regions.adopt(group(101, state=GroupState.READY))
    assert regions.at(1).counts[HERE] == 3
    assert regions.of[1] == {"tract/1": THERE}, "an older group does not take its region back"
    assert (regions.ran(group(), HERE), regions.former) == (True, {101: HERE})


def test_a_pin_takes_the_region_along_but_not_that_of_a_step_that_says_at() -> None:
    regions = Regions(view())
    regions.note(group(102, APART, facility=HERE))
    assert regions.of.get(1, {}) == {}
    regions.note(group(facility=HERE))
    regions.note(group(state=GroupState.READY, pinned=THERE))
    assert regions.region_at(group()) == THERE
    regions.note(group(101, facility=HERE, pinned=HERE))
    regions.note(group(state=GroupState.READY, pinned=THERE, due_at=5))
    assert regions.region_at(group()) == HERE, "the last word counts, however often it is heard"


def test_claims_count_while_the_group_is_there() -> None:
    regions = Regions(view())
    regions.claim(100, HERE, 500)
    assert regions.claimed[HERE] == 0
    regions.note(group(facility=HERE))
    regions.claim(100, HERE, 700)
    assert regions.claimed[HERE] == 500, "a second answer comes too late"
    regions.note(group(state=GroupState.READY))
    assert regions.claimed[HERE] == 0
    regions.claim(100, THERE, 600)
    regions.note(group(facility=HERE))
    assert regions.claimed[THERE] == regions.claimed[HERE] == 0
    regions.note(group(state=GroupState.READY))
    regions.claim(100, THERE, 600)
    regions.note(group(facility=THERE))
    regions.note(group(facility=THERE, state=GroupState.FAILED))
    assert regions.claimed[THERE] == 0


def test_the_pace_is_that_of_the_last_hour() -> None:
    pace = Pace()
    assert pace.an_hour(HERE, 0) is None
    for minute in range(90):
        pace.count(HERE, minute * MINUTE)
    pace.count(HERE, 88 * MINUTE)
    assert pace.an_hour(HERE, 89 * MINUTE) == 61
    assert pace.an_hour(HERE, 119 * MINUTE) == 31
    assert pace.an_hour(HERE, 200 * MINUTE) is None


class Live:
    """One facility, as the test says."""

    def up(self, name: str) -> tuple[bool, str]:
        return name == HERE, "" if name == HERE else "its agent is dead"

    def load(self, name: str) -> tuple[int, int]:
        return 2, 3

    def classes(self, name: str) -> tuple[Queue, ...]:
        return (Queue("small", 4, 2**30, running=2, queued=3),)

    def backlog(self, name: str) -> dict[str, int]:
        return {}

    def storage(self, name: str) -> tuple[Storage, ...]:
        return (
            Storage("HERE_DISK", "/data", 100, 1000),
            Storage("HERE_SCRATCH", "/data", 100, 1000),
            Storage("HERE_OTHER", "/other", 50, None, "no total"),
            Storage("HERE_TAPE", "/tape", 10**9, 10**9),
        )


def test_a_facility_is_shown_as_it_is_just_now() -> None:
    pace, regions = Pace(), Regions(view())
    clock = FakeClock()
    pace.count(HERE, clock.now())
    regions.claim(100, HERE, 7)
    regions.note(group(facility=HERE))
    linked = replace(facility(HERE), links={THERE: 1e9, "NEW": 0.0})
    infos = {HERE: linked, THERE: facility(THERE)}
    questions = Questions(view(), infos, Live(), regions, pace, clock)
    here, there = questions.facility_views([1])
    assert (here.up, there.up, there.reason) == (True, False, "its agent is dead")
    assert (here.running, here.queued, here.queues[0].queued) == (2, 3, 3)
    assert (here.free_bytes, here.total_bytes, here.claimed_bytes) == (150, 1000, 7)
    assert (here.throughput, there.throughput) == (1.0, None)
    assert here.links == {THERE: Link(1e9), "NEW": Link(None)}
    assert there.links is None
    assert (here.placed_by, here.placed) == ({"camp": 1}, {"groups": 1})
