"""What a facility must have, whatever its share; and what nobody knows is not judged."""

from typing import Any

import pytest
from placement_cases import GB, SHARES, TB, counted, factor, many, place, queue, select, three, view

from cmd_daemon.hooks import Placement
from cmd_daemon.hooks.placement import Held, Link

TOTAL = Held(100, TB)
HAVE_ALL = {"USDF": TOTAL, "FrDF": TOTAL, "UKDF": TOTAL}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"info": {"memory": GB}}, "4.0 GB of memory asked for, it has 1.0 GB"),
        ({"info": {"cores": 0}}, "1 cores asked for, it has 0"),
        ({"info": {"walltime_s": 60.0}}, "3600 s of wall time asked for, it allows 60 s"),
        ({"info": {"stacks": {}}}, "it has no stack 'w_1'"),
        ({"info": {"butlers": {}}}, "it has no Butler repository 'dp2'"),
        ({"queues": (queue(2 * GB),)}, "its largest class has 2.0 GB"),
        (
            {"queues": (queue(2 * GB, cores=8), queue(8 * GB, cores=0))},
            "1 cores asked for, its classes with that memory have 0",
        ),
        (
            {"queues": (queue(2 * GB), queue(8 * GB, walltime_s=600.0))},
            "its classes with that memory and those cores allow 600 s",
        ),
    ],
)
async def test_what_a_facility_lacks_waiting_does_not_mend(
    changes: dict[str, Any], words: str
) -> None:
    found = await place([view("USDF", **changes)])
    assert (found.facility, found.permanent) == (None, True)
    assert words in found.reason
    assert "FrDF: no facility of this daemon" in found.reason


async def test_a_facility_without_a_large_node_never_gets_the_large_job() -> None:
    small, large = queue(192 * GB, cores=64), queue(500 * GB, cores=64)
    views = three(
        USDF={"queues": (small, large)},
        FrDF={"queues": (small, large), "up": False},
        UKDF={"queues": (small,)},
    )
    shares = {"USDF": 0.01, "FrDF": 0.01, "UKDF": 0.98}
    for algorithm in ("share", "balanced", "locality"):
        requests = many(
            100, algorithm=algorithm, shares=shares, memory=480 * GB, cores=60, inputs=HAVE_ALL
        )
        placements = await select(requests, views)
        assert counted(placements) == {"USDF": 100}
        value, passed, words = factor(placements[0], "UKDF", "memory")
        assert (value, passed) == (0.0, False)
        assert words == "480.0 GB of memory asked for, its largest class has 192.0 GB"
    pinned = await place(views, at="UKDF", memory=480 * GB)
    assert (pinned.facility, pinned.permanent) == (None, True)


async def test_classes_replace_the_configured_limits() -> None:
    found = await place(
        [view("USDF", queues=(queue(512 * GB),), info={"memory": GB})], memory=500 * GB
    )
    assert found.facility == "USDF"


async def test_a_facility_that_is_down_or_left_out_is_waited_for() -> None:
    found = await place([view("USDF", up=False), view("FrDF", info={"stacks": {}})])
    assert (found.facility, found.permanent) == (None, False)
    assert "USDF: drained by pilot1" in found.reason
    found = await place([view("USDF")], exclude=frozenset({"USDF"}))
    assert (found.facility, found.permanent) == (None, False)
    assert "USDF: left out of this question" in found.reason


async def test_what_if_a_facility_were_down() -> None:
    now = await place(three(), shares=SHARES)
    without = await place(three(), shares=SHARES, exclude=frozenset({"FrDF"}))
    assert (now.facility, without.facility) == ("FrDF", "USDF")
    assert factor(without, "FrDF", "excluded") == (0.0, False, "left out of this question")


async def test_inputs_must_be_there_or_able_to_come() -> None:
    inputs = {"USDF": TOTAL}
    links = {"USDF": Link(1e8)}
    views = [view("USDF", up=False), view("FrDF", links=links), view("UKDF", links={})]
    found = await place(views, inputs=inputs, inputs_total=TOTAL)
    assert found.facility == "FrDF"
    assert factor(found, "FrDF", "inputs")[2] == (
        "100 of 100 input files are missing and can come from USDF"
    )
    assert factor(found, "UKDF", "inputs")[:2] == (0.0, False)
    blocked = {"USDF": Link(1e8, blocked=True)}
    views = [view("USDF", up=False), view("FrDF", links=blocked), view("UKDF", links={})]
    found = await place(views, inputs=inputs, inputs_total=TOTAL)
    assert (found.facility, found.permanent) == (None, False)
    assert "no facility that holds any has an open link to it" in found.reason


async def test_a_link_that_stands_still_counts_least() -> None:
    inputs = {"USDF": TOTAL}
    views = [
        view("USDF", up=False),
        view("FrDF", links={"USDF": Link(0.0)}),
        view("UKDF", links={"USDF": Link(1e8)}),
    ]
    found = await place(views, inputs=inputs, inputs_total=TOTAL)
    assert found.facility == "UKDF"


async def test_room_for_the_peak() -> None:
    def needs(found: Placement) -> str:
        return factor(found, "USDF", "storage")[2]

    inputs = {"USDF": TOTAL}
    found = await place([view("USDF", free_bytes=9 * TB)], inputs=inputs, inputs_total=TOTAL)
    assert (found.facility, found.permanent) == (None, False)
    assert needs(found) == "10.0 TB needed, 9.0 TB free, of which 0 B are claimed"
    found = await place(
        [view("USDF", free_bytes=9 * TB, claimed_bytes=4 * TB)], output_bytes=6 * TB
    )
    assert (found.facility, found.permanent) == (None, False)
    assert "4.0 TB are claimed" in needs(found)
    found = await place(
        [view("USDF", free_bytes=9 * TB, total_bytes=20 * TB)], output_bytes=30 * TB
    )
    assert (found.facility, found.permanent) == (None, True)
    assert needs(found) == "30.0 TB needed, all its storage is 20.0 TB"
    found = await place(
        [view("USDF", free_bytes=2 * TB, links={"FrDF": Link()})],
        inputs={"FrDF": TOTAL},
        inputs_total=TOTAL,
        output_bytes=TB,
    )
    assert found.facility == "USDF"


async def test_one_set_does_not_fill_a_storage_twice() -> None:
    views = [view("USDF", slots=1000, free_bytes=10 * TB), view("FrDF", free_bytes=3 * TB)]
    placements = await select(many(20, output_bytes=TB), views)
    assert counted(placements) == {"USDF": 10, "FrDF": 3, None: 7}
    assert not any(each.permanent for each in placements)


async def test_what_is_not_known_is_not_judged() -> None:
    found = await place([view("USDF")])
    assert found.facility == "USDF"
    for name in ("inputs", "storage", "share", "locality", "network"):
        value, passed, words = factor(found, "USDF", name)
        assert (value, passed) == (1.0, True)
        assert words.startswith("not judged: ")
    found = await place([view("USDF")], inputs={}, inputs_total=TOTAL)
    assert found.facility == "USDF"
    assert "its links are not known" in factor(found, "USDF", "inputs")[2]
    assert "its free space is not known" in factor(found, "USDF", "storage")[2]
    assert "no link to it has been measured" in factor(found, "USDF", "network")[2]


@pytest.mark.parametrize("total", [Held(0, 0), Held(3, 0), Held(0, 3)])
async def test_odd_totals_do_no_harm(total: Held) -> None:
    for algorithm in ("share", "locality", "balanced"):
        inputs = {"FrDF": total}
        views = [view(name) for name in ("USDF", "FrDF", "UKDF")]
        found = await place(views, algorithm=algorithm, inputs=inputs, inputs_total=total)
        assert found.facility == ("FrDF" if total != Held(0, 0) else "USDF")


async def test_every_facility_shows_every_filter() -> None:
    found = await place(three(UKDF={"up": False}), shares=SHARES)
    filters = {"memory", "cores", "walltime", "stack", "butler", "up", "inputs", "storage"}
    weights = {"share", "throughput", "locality", "network", "score"}
    for name in ("USDF", "FrDF"):
        assert {each.name for each in found.factors if each.facility == name} == filters | weights
    assert {each.name for each in found.factors if each.facility == "UKDF"} == filters


async def test_equal_lines_are_one_object() -> None:
    first, second = await select(many(2, shares=SHARES), three())
    same = [one is two for one, two in zip(first.factors, second.factors, strict=True)]
    assert same.count(False) <= 7
