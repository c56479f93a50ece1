"""Each recorded answer is understood: what PanDA said no to is a refusal of the right kind, whatever
status, envelope or list it came in."""

import json
from pathlib import Path
from typing import Any

import pytest

from cmd_daemon.hooks import ErrorClass
from cmd_panda.faults import (
    Kind,
    PandaFault,
    commanded,
    enveloped,
    needed,
    parsed,
    refuse_status,
    unpaired,
)
from cmd_panda.records import (
    job_record,
    moment,
    queue_loads,
    queue_specs,
    request_records,
    task_record,
)

RECORDINGS = Path(__file__).parent.parent / "panda_server" / "recordings"
EXCHANGES = [json.loads(line) for line in (RECORDINGS / "exchanges.jsonl").read_text().splitlines()]
NAMES = [each["name"] for each in EXCHANGES]
BY_NAME = dict(zip(NAMES, EXCHANGES, strict=True))
COMMANDS = (
    "kill",
    "finish",
    "pause",
    "resume",
    "retry",
    "reassign",
    "change_priority",
    "change_attribute",
    "change_split_rule",
    "increase_attempts",
    "release",
    "avalanche",
    "reactivate",
)
THERE = "the PanDA server"


def is_command(path: str) -> bool:
    module, _, call = path.rpartition("/")
    return module.endswith("/task") and call in COMMANDS


def _text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)


def understood(exchange: dict[str, Any]) -> Any:
    """What the client makes of an exchange: the data, or a PandaFault."""
    request, response = exchange["request"], exchange["response"]
    changes = request["method"] == "POST"
    text = _text(response["body"])
    refuse_status(response["status"], text, THERE, changes)
    value = parsed(text, THERE, changes)
    if request["path"].startswith("/server/panda/"):
        return unpaired(value, "iDDS", changes)
    answer = enveloped(value, THERE, changes)
    if is_command(request["path"]):
        commanded(answer, THERE)
        return answer.data
    return needed(answer, THERE)


@pytest.mark.parametrize("name", NAMES)
def test_every_exchange_is_an_answer_or_a_refusal(name: str) -> None:
    exchange = BY_NAME[name]
    if _said_no(exchange):
        with pytest.raises(PandaFault, match=r"\S"):
            understood(exchange)
    else:
        understood(exchange)


def _said_no(exchange: dict[str, Any]) -> bool:
    """What a person would say of the recording."""
    path, response = exchange["request"]["path"], exchange["response"]
    body = response["body"]
    if response["status"] != 200:
        return True
    if isinstance(body, list):
        inner = body[1]
        return body[0] is False or (isinstance(inner, list) and inner[:1] == [False])
    if isinstance(body, str):
        return not body.startswith("{'success': True")
    if is_command(path):
        return not body["success"] or body["data"] not in (0, None)
    return not body["success"]


KINDS = {
    "no-token": Kind.CREDENTIAL,
    "no-origin": Kind.CREDENTIAL,
    "unknown-origin": Kind.CREDENTIAL,
    "role-not-in-token": Kind.CREDENTIAL,
    "expired-token": Kind.CREDENTIAL,
    "wrong-group": Kind.CREDENTIAL,
    "garbage-token": Kind.CREDENTIAL,
    "idds-legacy-no-token": Kind.CREDENTIAL,
    "idds-legacy-expired": Kind.CREDENTIAL,
    "submit-expired": Kind.CREDENTIAL,
    "kill-no-token": Kind.CREDENTIAL,
    "unknown-method": Kind.DEFECT,
    "unknown-api-version": Kind.DEFECT,
    "legacy-gone": Kind.DEFECT,
    "wrong-verb-get": Kind.DEFECT,
    "bad-argument-name": Kind.DEFECT,
    "bad-argument-type-post": Kind.DEFECT,
    "malformed-json": Kind.DEFECT,
    "submit-parameters-list": Kind.DEFECT,
    "idds-legacy-unknown-command": Kind.DEFECT,
    "idds-legacy-bad-argument": Kind.DEFECT,
    "kill-not-owner": Kind.ROLE,
    "pause-owner-no-role": Kind.ROLE,
    "status-unknown": Kind.GONE,
    "kill-unknown": Kind.GONE,
    "kill-not-refined": Kind.GONE,
    "retry-unknown": Kind.GONE,
    "kill-done": Kind.STATE,
    "retry-done": Kind.STATE,
    "retry-running": Kind.STATE,
    "pause-paused": Kind.STATE,
    "kill-aborting": Kind.STATE,
    "idds-legacy-not-gzip": Kind.LOST,
    "json-array-body": Kind.LOST,
    "idds-legacy-host": Kind.LOST,
    "since-unknown-field": Kind.SERVER,
    "since-int-filter": Kind.DOWN,
    "submit-missing-vo": Kind.SERVER,
}


@pytest.mark.parametrize("name", KINDS)
def test_refusals_are_of_the_right_kind(name: str) -> None:
    with pytest.raises(PandaFault) as caught:
        understood(BY_NAME[name])
    assert caught.value.kind is KINDS[name], caught.value


def test_what_may_be_done_about_each_kind() -> None:
    classes = {kind: PandaFault(kind, "no").error_class for kind in Kind}
    assert classes[Kind.CREDENTIAL] is ErrorClass.NOT_YET, (
        "work waits until a person has renewed it"
    )
    assert classes[Kind.LOST] is ErrorClass.UNKNOWN
    assert classes[Kind.SERVER] is classes[Kind.DOWN] is ErrorClass.TRANSIENT
    assert classes[Kind.DEFECT] is classes[Kind.ROLE] is ErrorClass.PERMANENT


@pytest.mark.parametrize("status", [500, 502, 504])
def test_an_error_amid_a_change_leaves_it_open_and_amid_a_look_does_not(status: int) -> None:
    with pytest.raises(PandaFault) as changing:
        refuse_status(status, "oops", THERE, changes=True)
    with pytest.raises(PandaFault) as looking:
        refuse_status(status, "oops", THERE, changes=False)
    assert changing.value.error_class is ErrorClass.UNKNOWN
    assert looking.value.error_class is ErrorClass.TRANSIENT


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_has_done_nothing(status: int) -> None:
    with pytest.raises(PandaFault) as caught:
        refuse_status(status, "slow down", THERE, changes=True)
    assert caught.value.error_class is ErrorClass.TRANSIENT


def test_pythons_own_form_is_read_too() -> None:
    assert understood(BY_NAME["no-accept-header"]) == "done"


def test_a_record_has_the_counters_of_its_files() -> None:
    (told,) = BY_NAME["since-name"]["response"]["body"]["data"]
    task = task_record(told)
    assert (task.id, task.status, task.queue) == (20, "finished", "CC-IN2P3_Rubin")
    assert task.done == (6, 4, 2, 0)
    assert (task.priority, task.memory, task.error) == (900, 2000, "")
    assert task.changed == moment({"__datetime__": "2026-11-22T17:28:07.744806"})


def test_jobs_tell_each_source_of_their_errors() -> None:
    told = BY_NAME["job-descriptions-unsuccessful"]["response"]["body"]["data"]
    jobs = {job.id: job for job in map(job_record, told)}
    errors = [(error.source, error.code) for error in jobs[84].errors]
    assert errors == [("pilot", 1305), ("trans", 1)]
    assert (jobs[84].inputs, jobs[84].exit_code) == (("000002:bad_2",), 1)
    assert jobs[84].stdout == "", "no harvester has noted a log"


def test_queues_are_told_once() -> None:
    specs = queue_specs(BY_NAME["site-specs-all"]["response"]["body"]["data"])
    assert set(specs) == {"SLAC_Rubin", "CC-IN2P3_Rubin", "LANCS_Rubin"}
    slac = specs["SLAC_Rubin"]
    assert (slac.status, slac.memory, slac.cores) == ("online", 16000 * 2**20, 8)
    loads = queue_loads(BY_NAME["stats-active-job-stats-by-site"]["response"]["body"]["data"])
    assert (loads["LANCS_Rubin"].running, loads["LANCS_Rubin"].queued) == (14, 8)


@pytest.mark.parametrize(("name", "id"), [("idds-legacy-get", 4), ("idds-legacy-get-detail", None)])
def test_a_request_without_transforms_is_known_by_its_name(name: str, id: int | None) -> None:
    """A detailed answer has no id then: the join gives null."""
    (request,) = request_records(understood(BY_NAME[name]))
    assert (request.id, request.status, request.transforms) == (id, "New", ())
    assert request.name == "u_cmd_toycamp_step1_groupN_20261122T173252Z"
    assert request.created is not None


@pytest.mark.parametrize("text", ["", "<html>", "[1, 2", "{'a': open('x')}", "null", "[]"])
def test_nonsense_is_a_refusal_and_no_crash(text: str) -> None:
    with pytest.raises(PandaFault) as caught:
        needed(enveloped(parsed(text, THERE, True), THERE, True), THERE)
    assert caught.value.error_class is ErrorClass.UNKNOWN
