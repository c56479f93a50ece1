"""What a stage of inputs that are in Rucio takes for granted: names, places, sidecars, and its key of
the campaign file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quick_contract import order
from test_rucio_contract import section

from cmd_daemon.hooks import (
    CampaignReview,
    ErrorClass,
    JobKind,
    JobOrder,
    JobTemplate,
    Refused,
    StepPolicy,
)
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.moving.carrier import SameMachineCarrier
from cmd_local.moving.driver import MoverDriver
from cmd_local.moving.manifest import Link
from cmd_local.moving.orders import BadOrder, movement_of
from cmd_local.moving.settings import MoverSettings
from cmd_rucio_butler import naming
from cmd_rucio_butler.locator import filled, named
from cmd_rucio_butler.plugin import cmd_validate_campaign
from cmd_rucio_butler.server import Known, Sidecar
from cmd_rucio_butler.settings import RucioSettings, rucio_settings
from cmd_rucio_butler.staging import _item

SAID = {
    "id": "5a3a1d2e-0000-4000-8000-000000000001",
    "datasetType": {
        "name": "bias",
        "storageClass": "ExposureF",
        "dimensions": ["instrument", "detector"],
        "isCalibration": True,
    },
    "dataId": {"dataId": {"instrument": "LSSTCam", "detector": 3, "band": "r"}, "records": {}},
    "run": "LSSTCam/calib/1",
}


def settings(directory: Path, **changes: Any) -> RucioSettings:
    return rucio_settings(facility_info(settings={"rucio": section(directory, **changes)}))


def stage(**params: Any) -> JobOrder:
    made = replace(order("g"), job="stage-register", kind=JobKind.REGISTER)
    return replace(made, params={"datasets": ["raw"], "facilities": ["HERE"], **params})


def test_names_have_the_scope_that_stands_before_them(tmp_path: Path) -> None:
    here = settings(tmp_path, inputs={"raw": "raw:Dataset/{instrument}/raw/*", "cat": "refcats"})
    where = "instrument = 'LSSTCam'"
    found = named("raw", where, [settings(tmp_path), here])
    assert [name[1:] for name in found] == [("raw", "Dataset/LSSTCam/raw/*")]
    assert [name[1:] for name in named("cat", "", [here])] == [("rubin", "refcats")]
    assert named("raw", "", [here]) == named("bias", where, [here]) == []
    assert filled("raw:Tract{tract}", where, here) == []


def test_a_facility_has_all_its_rses_once(tmp_path: Path) -> None:
    scopes = {"raw": {"rse": "RAW", "root": "/raw"}, "ancillary": {"rse": "RAW", "root": "/anc"}}
    assert settings(tmp_path, scopes=scopes, input_rses=["OLD", "RAW"]).rses == (
        "HERE_DISK",
        "RAW",
        "OLD",
    )


def test_a_sidecar_says_what_a_file_is() -> None:
    types: dict[str, Any] = {}
    item = _item("raw:a/b", Sidecar("raw_file", json.dumps(SAID)), Known(7, "x"), types)
    assert item is not None
    assert (item.uuid, item.type, item.run) == (SAID["id"], "bias", SAID["run"])
    assert (item.data_id, item.file, item.size) == (
        {"instrument": "LSSTCam", "detector": 3},
        "raw:a/b",
        7,
    )
    assert types == {
        "bias": {
            "dimensions": ["instrument", "detector"],
            "storage_class": "ExposureF",
            "is_calibration": True,
        }
    }


@pytest.mark.parametrize(
    "said",
    [
        None,
        Sidecar("raw_file", ""),
        Sidecar("data_product", "no JSON"),
        Sidecar("data_product", json.dumps({"id": SAID["id"]})),
        Sidecar("data_product", json.dumps({**SAID, "dataId": {"dataId": {}}})),
        Sidecar("data_product", "[]"),
    ],
)
def test_what_says_too_little_is_nothing(said: Sidecar | None) -> None:
    assert _item("raw:a/b", said, Known(7, "x"), {}) is None


def test_whose_a_rule_is_follows_from_its_meta() -> None:
    movement = movement_of(stage())
    meta = naming.meta(movement, Link("Rucio", "HERE"))
    # Rucio gives it back as JSON in JSON, once more for each change.
    assert naming.owner_of(json.dumps(meta)) == naming.owner(movement)
    assert naming.owner_of(meta) == naming.owner(movement)
    for foreign in (None, "", "transfer for me", "{}", '{"cmd": 3}', 7):
        assert naming.owner_of(foreign) == ""


async def test_the_embedded_mover_refuses_what_only_rucio_knows(tmp_path: Path) -> None:
    info = facility_info(butlers={"main": "r"})
    mover = MoverDriver(info, MoverSettings(), FakeHost(tmp_path), SameMachineCarrier())
    await mover.start()
    (answer,) = await mover.submit([stage(existing={"raw": "raw:x"})])
    assert isinstance(answer, Refused)
    assert answer.error_class is ErrorClass.PERMANENT
    assert "the driver 'mover' knows no datasets outside the Butlers" in answer.message
    await mover.stop()


@pytest.mark.parametrize("existing", ["raw:x", ["raw"], {"raw": 3}])
def test_existing_names_must_be_patterns(existing: Any) -> None:
    with pytest.raises(BadOrder, match="'existing' must be dataset types with a pattern each"):
        movement_of(stage(existing=existing))


def test_a_pattern_that_cannot_be_read_is_told_when_the_campaign_is_made() -> None:
    def review(pattern: str) -> CampaignReview:
        params = {"datasets": ["raw"], "existing": {"raw": pattern}}
        jobs = (JobTemplate("stage-register", JobKind.REGISTER, params),)
        return CampaignReview("c", "me", ("HERE",), {"isr": StepPolicy(jobs=jobs)}, {})

    assert list(cmd_validate_campaign(campaign=review("raw:Tract{tract}/*"))) == []
    ((field, words),) = cmd_validate_campaign(campaign=review("raw:Tract{tract:3}"))
    assert field == "steps.isr.stage.existing.raw"
    assert "must be the plain name of a dimension" in words
