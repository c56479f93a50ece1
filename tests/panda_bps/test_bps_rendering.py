"""What becomes of an order: a BPS submit file, and what the program at the facility is told."""

import json
from dataclasses import replace
from typing import Any

import pytest
from bps_orders import KEY, ORDER, settings, site
from pydantic import ValidationError

from cmd_daemon.hooks import CampaignReview, JobKind, JobOrder, JobTemplate, StepPolicy
from cmd_housekeeping.naming import ref_of
from cmd_local.orders import BadOrder
from cmd_panda.bps.rendering import far_order, parts_of, reference
from cmd_panda.naming import name_of
from cmd_panda.plugin import cmd_validate_campaign


def config_of(order: JobOrder = ORDER, **bps: Any) -> dict[str, Any]:
    """The submit file of an order."""
    config = far_order(order, site(**bps))["plan"]["config"]
    assert isinstance(config, dict)
    return config


def test_order_decides_queue_memory_collections_and_data() -> None:
    config = config_of(merge_queue="SLAC_Rubin_Merge", attempts=4, memory_multiplier=1.5)
    assert config["computeSite"] == "SLAC"
    assert config["computeCloud"] == "US"
    assert config["queue"] == "SLAC_Rubin_8G"
    assert config["requestMemory"] == 6144
    assert config["memoryLimit"] == 8192, "the facility's largest memory class"
    assert config["memoryMultiplier"] == 1.5
    assert config["numberOfRetries"] == 4
    assert config["requestCpus"] == 2
    assert config["requestWalltime"] == 7201
    assert config["payload"] == {
        "payloadName": "step1/visits-7",
        "butlerConfig": "/repo/dp2",
        "inCollection": "LSSTCam/defaults,u/dp2/step0",
        "dataQuery": "instrument = 'LSSTCam' AND visit IN (7, 8)",
        "output": "u/dp2/step1/visits-7",
        "outputRun": "u/dp2/step1/visits-7/a2",
    }
    assert config["finalJob"]["queue"] == "SLAC_Rubin_Merge"
    assert config["finalJob"]["updateOutputChain"] == "", "the collect job makes the chain"


def test_runner_gets_what_the_local_driver_gives_it() -> None:
    runner = far_order(ORDER, site())["runner"]
    assert runner["pipeline"] == "$DRP_PIPE_DIR/DRP.yaml#step1"
    assert runner["config"] == {"isr:doDark": False}
    assert runner["inputs_if_there"] == ["u/dp2/step0"]
    assert runner["skip_existing_in"] == []


def test_names_follow_from_the_key_alone() -> None:
    again = replace(ORDER, memory=1, where="visit = 9", former_refs=("bps:x/y",))
    assert config_of()["uniqProcName"] == config_of(again)["uniqProcName"]
    assert config_of()["uniqProcName"] == name_of(KEY, "cmd")
    names = {config_of(replace(ORDER, key=KEY + str(n)))["uniqProcName"] for n in range(20)}
    assert len(names) == 20
    longest = replace(ORDER, key="/".join(["c" * 200] * 4) + "#12")
    name = config_of(longest)["uniqProcName"]
    assert len(f"{name}_02_{'l' * 36}_01_1234567_1234567") <= 132, "PanDA's column has no more"
    assert name.replace("_", "").replace("-", "").isalnum(), "no pattern for anybody"


def test_rescue_takes_over_former_runs_and_their_graphs() -> None:
    former = (
        reference("dp2/step1/visits-7/process#1", "w_2026_05"),
        reference("dp2/step1/visits-7/process#0", "w_2025_01"),
        "dp2/step1/visits-7.a0-0123",
    )
    runs = ("u/dp2/step1/visits-7/a1", "u/dp2/step1/visits-7/a0")
    order = replace(ORDER, former_refs=former, former_runs=runs, mode="missing-only")
    told = far_order(order, site())
    assert told["former"] == [ref_of("dp2/step1/visits-7/process#1")]
    assert told["runner"]["skip_existing_in"] == list(runs)
    anew = far_order(replace(order, mode="from-start"), site())
    assert (anew["former"], anew["runner"]["skip_existing_in"]) == ([], [])


def test_step_and_facility_may_set_further_keys_and_the_step_wins() -> None:
    clusters = {"visits": {"pipetasks": "isr,calibrate", "dimensions": "visit"}}
    own = {"clusterAlgorithm": "dimension_clustering", "cluster": clusters, "finalJob": {"x": 1}}
    order = replace(ORDER, params={**ORDER.params, "bps": own})
    config = config_of(order, config={"clusterAlgorithm": "other", "finalJob": {"x": 2, "y": 3}})
    assert config["clusterAlgorithm"] == "dimension_clustering"
    assert config["cluster"] == clusters
    assert (config["finalJob"]["x"], config["finalJob"]["y"]) == (1, 3)
    assert config["finalJob"]["requestCpus"] == 1


@pytest.mark.parametrize("key", ["payload", "uniqProcName", "queue", "fileDistributionEndPoint"])
def test_keys_that_follow_from_the_order_are_nobodys(key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        settings(config={key: "x"})
    with pytest.raises(BadOrder, match=key):
        config_of(replace(ORDER, params={**ORDER.params, "bps": {key: "x"}}))


def test_bad_orders_are_refused_in_words() -> None:
    with pytest.raises(BadOrder, match="runner_command"):
        config_of(runner_command="")
    with pytest.raises(BadOrder, match="no stack 'w_1'"):
        config_of(replace(ORDER, stack="w_1"))
    with pytest.raises(BadOrder, match="no parameter frobnicate"):
        config_of(replace(ORDER, params={**ORDER.params, "frobnicate": 1}))
    with pytest.raises(BadOrder, match="table"):
        config_of(replace(ORDER, params={**ORDER.params, "bps": "x"}))


def test_only_references_to_the_credential_travel() -> None:
    told = far_order(ORDER, site())
    assert told["plan"]["credential"] == {"token_file": "/secret/token"}
    assert "Bearer" not in json.dumps(told)


def test_a_reference_tells_stack_and_directory() -> None:
    ref = reference(KEY, "w_2026_05")
    assert parts_of(ref) == ("w_2026_05", ref_of(KEY))
    assert [parts_of(each) for each in ("task:7", "bps:w", "", ref_of(KEY))] == [None] * 4


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"queue": "x", "y": 1}, "queue"),
        ("many", "table"),
        ({"clusterAlgorithm": "y"}, ""),
        (None, ""),
    ],
)
def test_a_campaign_that_sets_such_keys_is_refused_before_it_is_stored(
    own: Any, words: str
) -> None:
    process = JobTemplate("process", JobKind.PROCESS, {"pipeline": "p", "bps": own})
    script = JobTemplate("before", JobKind.SCRIPT, {"bps": {"queue": "its own affair"}})
    steps = {"one": StepPolicy(jobs=(script, process))}
    problems = list(cmd_validate_campaign(campaign=CampaignReview("c", "o", (), steps, {})))
    assert [field for field, _ in problems] == (["steps.one.params.bps"] if words else [])
    assert all(words in text for _, text in problems)
