"""What the orders of movement jobs know: the jobs a step has, with their parameters."""

from cmd_daemon.spec.jobs import job_templates
from cmd_daemon.spec.model import StepSection

FACILITIES = ("USDF", "FrDF", "UKDF")


def params(**step: object) -> dict[str, dict[str, object]]:
    section = StepSection.model_validate({"pipeline": "p.yaml", **step})
    jobs = job_templates(section, ("out/b", "out/a"), FACILITIES)
    return {job.name: dict(job.params) for job in jobs}


def test_every_movement_knows_the_facilities_of_the_campaign() -> None:
    found = params(
        at="USDF",
        stage={"datasets": ["raw"]},
        gather={"datasets": ["star"]},
        scatter={"datasets": ["zp"], "by": "visit"},
        keep={"datasets": ["object"], "at": "UKDF"},
        archive={"rse": "TAPE", "bundle": "zip"},
        discard=["warp"],
    )
    everywhere = {"facilities": list(FACILITIES)}
    gather = {"datasets": ["star"], "at": "USDF", "collections": ["out/b", "out/a"]}
    for stage in ("register", "transfer", "ingest"):
        assert found[f"stage-{stage}"] == {"datasets": ["raw"], **everywhere}
        assert found[f"gather-{stage}"] == {**gather, **everywhere}
        assert found[f"scatter-{stage}"] == {"datasets": ["zp"], "by": "visit", **everywhere}
        assert found[f"keep-{stage}"] == {"datasets": ["object"], "at": "UKDF", **everywhere}
    for stage in ("bundle", "register", "transfer"):
        assert found[f"archive-{stage}"] == {
            **{"rse": "TAPE", "bundle": "zip", "without": ["warp"]},
            **everywhere,
        }
    assert found["purge"] == {"datasets": ["warp"], "closed": ["keep", "archive"]}


def test_a_purge_waits_for_those_movements_only_that_the_step_has() -> None:
    assert params(discard=["warp"])["purge"] == {"datasets": ["warp"], "closed": []}
    kept = params(discard=["warp"], keep={"datasets": ["object"], "at": "UKDF"})
    assert kept["purge"]["closed"] == ["keep"]


def test_an_archive_without_bundles_has_no_bundle_job() -> None:
    assert "archive-bundle" not in params(archive={"rse": "TAPE"})
