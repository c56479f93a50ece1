"""One group's process job as a BPS submit file, and as the order of the program at the facility.

The submit file has everything but the paths of the attempt's directory, which the program fills in. Its
names follow from the attempt's key, so that the iDDS request and the PanDA tasks can be found by name:
the request is called as `uniqProcName`, a task `{uniqProcName}_{number}_{label}_{chunk}` with numbers of
iDDS behind it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cmd_daemon.hooks import CampaignReview, FacilityInfo, JobKind, JobOrder
from cmd_housekeeping.naming import ref_of
from cmd_local.orders import BadOrder, former_refs, read_process
from cmd_panda.bps.settings import free_keys
from cmd_panda.naming import name_of
from cmd_panda.settings import PandaSettings

MARK = "bps"
PARAMS = "bps"
"""The parameter of a step that has keys for its submit files, such as how quanta are clustered."""

LONGEST_NAME = 72
"""Characters of a request's name. To name its tasks BPS puts a number, a label of the pipeline and another
number behind it, and iDDS two more; PanDA's column has 132."""

SERVICE = "lsst.ctrl.bps.panda.PanDAService"
MIB = 1024**2
DECODED_AT_THE_NODE = ["qgraphNodeId", "qgraphId"]
FINAL_JOB: Mapping[str, Any] = {
    "requestCpus": 1,
    "requestMemory": 4096,
    # Nothing enters a chain before the group is judged: the group's collect job does that.
    "updateOutputChain": "",
}


@dataclass(frozen=True, slots=True)
class Site:
    """The facility as its orders need it: the paths there are filled in."""

    facility: FacilityInfo
    settings: PandaSettings
    work_dir: str
    endpoint: str
    credential: Mapping[str, str]


def reference(key: str, stack: str) -> str:
    """How an attempt is called: the stack it is worked on in, and its directory."""
    return f"{MARK}:{stack}/{ref_of(key)}"


def parts_of(reference: str) -> tuple[str, str] | None:
    """(stack, directory) of a reference, None if it is none of ours."""
    mark, _, rest = reference.partition(":")
    stack, _, directory = rest.partition("/")
    return (stack, directory) if mark == MARK and stack and directory else None


def request_name(key: str, prefix: str) -> str:
    """The name of the iDDS request, with which those of its PanDA tasks begin."""
    readable, number, digest = name_of(key, prefix).rsplit("_", 2)
    tail = f"_{number}_{digest}"
    return readable[: LONGEST_NAME - len(tail)].rstrip("_-") + tail


def step_problems(campaign: CampaignReview) -> Iterator[tuple[str, str]]:
    """What is wrong with the keys that a campaign's steps set: field and words."""
    for name, policy in campaign.steps.items():
        for job in policy.jobs:
            own = job.params.get(PARAMS) if job.kind is JobKind.PROCESS else None
            if own is None:
                continue
            try:
                _own_keys(own)
            except BadOrder as error:
                yield f"steps.{name}.params.{PARAMS}", str(error)


def _own_keys(own: Any) -> dict[str, Any]:
    """The keys that a step sets. Raises BadOrder."""
    if not isinstance(own, Mapping):
        raise BadOrder(f"'{PARAMS}' must be a table of keys of a BPS submit file")
    try:
        return free_keys(dict(own))
    except ValueError as error:
        raise BadOrder(f"'{PARAMS}': {error}") from error


def far_order(order: JobOrder, site: Site) -> dict[str, Any]:
    """The order as `plant` of the program takes it. Raises BadOrder."""
    own = _own_keys(order.params.get(PARAMS) or {})
    rest = {name: value for name, value in order.params.items() if name != PARAMS}
    process = read_process(
        replace(order, params=rest), site.facility, site.settings.bps.env, "-", []
    )
    runner = {
        name: value
        for name, value in process.document.items()
        if name not in ("work_dir", "previous_graphs", "jobs")
    }
    former = [parts_of(each) for each in former_refs(order)]
    return {
        "ref": ref_of(order.key),
        "runner": runner,
        "plan": {
            "key": order.key,
            "config": submit_file(order, site, runner, own),
            "endpoint": site.endpoint,
            "credential": dict(site.credential),
            "settle_s": site.settings.settle_s,
        },
        # Graphs of another stack, or another driver, nobody can count with this one's.
        "former": [each[1] for each in former if each is not None and each[0] == order.stack],
    }


def submit_file(
    order: JobOrder, site: Site, runner: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Any]:
    """The BPS submit file without the paths of the attempt's directory. `own` are the step's keys,
    which win over the facility's. Raises BadOrder."""
    settings, bps = site.settings, site.settings.bps
    if not bps.runner_command and not bps.include:
        raise BadOrder(
            f"facility {site.facility.name}: its section panda.bps needs runner_command, or a file to "
            "include that has one: how a node runs a job"
        )
    name = request_name(order.key, settings.prefix)
    queue = settings.queue_for(order.queue)
    most = max([site.facility.memory, *(each.memory for each in site.facility.queues)])
    ours: dict[str, Any] = {
        "includeConfigs": list(bps.include),
        "wmsServiceClass": SERVICE,
        "placeholderParams": list(DECODED_AT_THE_NODE),
        "uniqProcName": name,
        "operator": settings.prefix,
        "project": order.campaign,
        "campaign": order.campaign,
        "computeSite": bps.site or site.facility.name,
        "computeCloud": settings.cloud or bps.cloud,
        "queue": queue,
        "vo": settings.vo,
        "prodSourceLabel": settings.label,
        "priority": settings.priority,
        "requestMemory": math.ceil(order.memory / MIB),
        "requestCpus": order.cores,
        "requestWalltime": math.ceil(order.walltime_s),
        "numberOfRetries": bps.attempts,
        "memoryMultiplier": bps.memory_multiplier,
        "memoryLimit": math.floor((bps.memory_limit or most) / MIB),
        "pipelineYaml": runner["pipeline"],
        "pipetaskOutput": "",
        "payload": {
            "payloadName": f"{order.step}/{order.group}",
            "butlerConfig": runner["butler"],
            "inCollection": ",".join(order.inputs),
            "dataQuery": order.where,
            "output": order.output_chain,
            "outputRun": order.output_run,
        },
        "finalJob": {**FINAL_JOB, "queue": bps.merge_queue or queue},
    }
    if bps.runner_command:
        ours["runnerCommand"] = bps.runner_command
    if not bps.include:
        del ours["includeConfigs"]
    return _merged(ours, _merged(bps.config, own))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees of keys; where both have a value that above wins."""
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            value = _merged(known, value)
        merged[key] = value
    return merged
