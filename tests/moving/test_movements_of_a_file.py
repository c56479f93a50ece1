"""The jobs that a campaign file makes are orders that the mover takes."""

import pytest

from cmd_daemon.hooks import JobKind
from cmd_daemon.hooks.ports import FacilityInfo
from cmd_daemon.spec import Known, make_order, read_campaign
from cmd_local.moving.orders import STAGES, Movement, movement_of
from cmd_local.splitters import NoSplitter, QuerySplitter, ValuesSplitter

FILE = """\
campaign: c
owner: me
stack: w1
butler: {repo: main, inputs: [raw/all], output: u/c}
facilities: [USDF, FrDF, UKDF]
placement: {region: tract}
steps:
  check: {stage: {datasets: [raw]}, before: [{script: s}], split: {by: tract, values: [1]}}
  stars: {after: [check], pipeline: p, split: {by: tract, values: [1]}}
  solve:
    after: [stars]
    at: USDF
    gather: {datasets: [star_catalog]}
    pipeline: p
    scatter: {datasets: [zero_point], by: visit}
  bring: {after: [stars], at: USDF, gather: {datasets: [star_catalog], by: tract}}
  coadd:
    after: [solve]
    pipeline: p
    split: {by: tract, values: [1]}
    keep: {datasets: [coadd], at: USDF}
    archive: {rse: USDF_TAPE, bundle: zip}
    discard: [warp]
"""


def movements(step: str, group: str, facility: str) -> dict[str, Movement]:
    """What the mover makes of a group's jobs, by job."""
    kinds = dict.fromkeys(JobKind, "x")
    infos = {
        name: FacilityInfo(name, 1, 2**34, 8, 9e5, {"main": "/r"}, {"w1": "/p"}, kinds)
        for name in ("USDF", "FrDF", "UKDF")
    }
    splitters = {each.name: each for each in (NoSplitter(), ValuesSplitter(), QuerySplitter())}
    known = Known(infos, splitters, frozenset({"balanced"}), frozenset({"x"}), frozenset(JobKind))
    policy = read_campaign(FILE, file="c.yaml", parameters={}, known=known).steps[step]
    runs = (f"u/c/{step}/{group}/a1",)
    orders = [
        make_order(
            campaign="c",
            step=step,
            group=group,
            policy=policy,
            template=template,
            attempt=1,
            facility=facility,
            share={"name": group, "where": f"tract = {group}"},
            runs=runs,
        )
        for template in policy.jobs
        if template.kind in STAGES
    ]
    return {order.job: movement_of(order) for order in orders}


def test_a_stage_brings_inputs_of_the_groups_own_data_from_the_others() -> None:
    stage = movements("check", "1", "FrDF")["stage-transfer"]
    assert (stage.sources, stage.destinations) == (("USDF", "UKDF"), ("FrDF",))
    assert (stage.collections, stage.datasets) == (("raw/all",), ("raw",))
    assert stage.where == "tract = 1"


def test_a_seq_point_gathers_from_all_and_scatters_to_the_others() -> None:
    found = movements("solve", "all", "USDF")
    assert set(found) == {
        f"{name}-{stage}"
        for name in ("gather", "scatter")
        for stage in ("register", "transfer", "ingest")
    }
    gather, scatter = found["gather-ingest"], found["scatter-transfer"]
    assert gather.sources == ("FrDF", "UKDF", "USDF")
    assert gather.destinations == ("USDF",)
    assert gather.collections == ("u/c/stars",)
    assert (gather.datasets, gather.by) == (("star_catalog",), None)
    assert (scatter.sources, scatter.destinations) == (("USDF",), ("FrDF", "UKDF"))
    assert (scatter.collections, scatter.by) == (("u/c/solve/all",), "visit")
    assert gather.campaign_chain == scatter.campaign_chain == "u/c"


def test_a_step_may_only_gather() -> None:
    found = movements("bring", "all", "USDF")
    assert {each.stage for each in found.values()} == {"register", "transfer", "ingest"}
    assert {each.by for each in found.values()} == {"tract"}


@pytest.mark.parametrize("facility", ["UKDF", "USDF"])
def test_each_group_keeps_archives_and_purges_its_own(facility: str) -> None:
    found = movements("coadd", "1", facility)
    assert list(found) == [
        "keep-register", "keep-transfer", "keep-ingest",
        "archive-bundle", "archive-register", "archive-transfer", "purge",
    ]  # fmt: skip
    for each in found.values():
        assert each.sources == (facility,)
        assert each.collections == ("u/c/coadd/1",)
        assert each.runs == ("u/c/coadd/1/a1",)
    assert found["keep-ingest"].destinations == ("USDF",)
    archive = found["archive-transfer"]
    assert (archive.destinations, archive.bundle, archive.datasets) == (("USDF_TAPE",), "zip", None)
    assert archive.without == ("warp",)
    assert archive.facilities == ("USDF", "FrDF", "UKDF")
    purge = found["purge"]
    assert (purge.datasets, purge.closed) == (("warp",), ("keep", "archive"))
    # The purge asks for the books under the very ids that keep and archive write them.
    assert purge.manifest_id("keep") == found["keep-ingest"].manifest_id()
    assert purge.manifest_id("archive") == archive.manifest_id()
