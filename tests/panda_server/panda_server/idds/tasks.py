"""The PanDA task of a work: its parameters, as iDDS makes them of what BPS has sent."""

from typing import Any

from panda_server.idds.workflow import Work

BASH = "https://storage.googleapis.com/drp-us-central1-containers/bash-c"


def task_parameters(work: Work, request: int, number: int, owner: str) -> dict[str, Any]:
    """Parameters of a submission; request and transform are part of the name."""
    told = work.attributes
    cores = told.get("core_count") or 1
    attempts = told.get("maxAttempt") or told.get("num_retries") or 5
    encoded = bool(told.get("encode_command_line"))
    signed = f"export IDDS_BUILD_REQUEST_ID={request};export IDDS_BUIL_SIGNATURE=None; "
    parameters: dict[str, Any] = {
        "vo": told["vo"],
        "site": work.queue,
        "workingGroup": told.get("working_group"),
        "nFilesPerJob": 1,
        "nFiles": len(work.jobs),
        "noInput": True,
        "pfnList": list(work.jobs),
        "inputPreStaging": any(work.jobs.values()),
        "taskName": f"{work.name}_{request}_{number}",
        "userName": owner,
        "taskPriority": told.get("task_priority"),
        "architecture": "",
        "transUses": "",
        "transHome": None,
        "transPath": f"{BASH}-enc-new" if encoded else BASH,
        "encJobParams": encoded,
        "processingType": told.get("processingType"),
        "prodSourceLabel": told.get("prodSourceLabel"),
        "noWaitParent": True,
        "taskType": told.get("task_type"),
        "coreCount": cores,
        "skipScout": True,
        "cloud": told.get("task_cloud"),
        "PandaSite": told.get("task_site"),
        "prestagingRuleID": 123,
        "nChunksToWait": 1,
        "maxCpuCount": cores,
        "maxWalltime": told.get("maxWalltime"),
        "maxFailure": attempts,
        "maxAttempt": attempts,
        "log": told.get("task_log"),
        "jobParameters": [{"type": "constant", "value": signed + told.get("executable", "")}],
        "reqID": request,
    }
    if told.get("task_rss"):
        parameters |= {"ramCount": told["task_rss"] / cores, "ramUnit": "MBPerCoreFixed"}
    for field, name in (("offset", "retryRamOffset"), ("step", "retryRamStep")):
        if told.get(f"task_rss_retry_{field}"):
            parameters[name] = told[f"task_rss_retry_{field}"] / cores
    if told.get("task_rss_max"):
        parameters["retryRamMax"] = told["task_rss_max"]
    return parameters
