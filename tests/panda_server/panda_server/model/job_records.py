"""A job's record, with its files, as the API tells it."""

from typing import TYPE_CHECKING, Any

from panda_server.model.entities import ERROR_SOURCES, FINAL_JOB, Job

if TYPE_CHECKING:
    from panda_server.model.world import World

# Fields of a job's record that no recorded job fills.
NEVER_IN_JOB = """
schedulerID creationHost maxCpuUnit cpuConsumptionUnit metadata prodDBlock dispatchDBlock
computingElement destinationSE grid cpuConversion sourceSite destinationSite transferType
pilotTiming nInputFiles countryGroup batchID parentID nInputDataFiles inputFileType
inputFileProject inputFileBytes jobMetrics jobSubStatus actualCoreCount maxVMEM maxSWAP maxPSS
avgRSS avgVMEM avgSWAP avgPSS nucleus eventService hs06sec hs06 totRCHAR totWCHAR totRBYTES
totWBYTES rateRCHAR rateWCHAR rateRBYTES rateWBYTES diskIO memory_leak memory_leak_x2
container_name gco2_regional gco2_global cpu_architecture_level outputFileType
"""
NEVER_IN_FILE = """
prodDBlockToken dispatchDBlock dispatchDBlockToken md5sum scope checksum prodDBlock
destinationDBlock destinationDBlockToken destinationSE GUID
"""


def job_record(world: "World", job: Job) -> dict[str, Any]:
    """The record of get_description."""
    task, file = world.tasks[job.task], world.inputs[job.input]
    told = task.parameters
    log = told.get("log") or {}
    record: dict[str, Any] = dict.fromkeys(NEVER_IN_JOB.split()) | {
        "PandaID": job.id,
        "jobDefinitionID": 0,
        "pilotID": job.log_url,
        "creationTime": job.created,
        "modificationTime": job.modified,
        "modificationHost": job.host,
        "AtlasRelease": "",
        "transformation": told.get("transPath"),
        "homepackage": "",
        "prodSeriesLabel": "pandatest",
        "prodSourceLabel": told["prodSourceLabel"],
        "prodUserID": told["userName"],
        "assignedPriority": told.get("taskPriority", 100),
        "currentPriority": job.priority,
        "attemptNr": job.attempt,
        "maxAttempt": job.attempt,
        "jobStatus": job.status,
        "jobName": job.name,
        "maxCpuCount": world.queues[job.site].max_time,
        "maxDiskCount": 300,
        "maxDiskUnit": "MB  ",
        "ipConnectivity": "yes  ",
        "minRamCount": job.ram,
        "minRamUnit": "MB",
        "startTime": job.started,
        "endTime": job.ended,
        "cpuConsumptionTime": job.cpu,
        "commandToPilot": job.command if job.command == "tobekilled" else None,
        "transExitCode": job.exit_code,
        "computingSite": job.site,
        "jobParameters": job.parameters,
        "destinationDBlock": log.get("dataset"),
        "nEvents": 0,
        "cloud": world.queues[job.site].cloud,
        "taskID": task.id,
        "cmtConfig": "",
        "stateChangeTime": job.modified,
        "prodDBUpdateTime": job.created,
        "lockedby": "jedi",
        "relocationFlag": 1,
        "jobExecutionID": 0,
        "VO": told["vo"],
        "workingGroup": told.get("workingGroup"),
        "processingType": told.get("processingType"),
        "prodUserName": told["userName"],
        "specialHandling": f"NULL,pc,tq={job.mark:.6f}",
        "jobsetID": task.id,
        "coreCount": task.attributes["coreCount"],
        "nOutputDataFiles": 0,
        "outputFileBytes": 0,
        "workQueue_ID": 2,
        "jediTaskID": task.id,
        "reqID": task.id,
        "maxRSS": job.max_rss,
        "maxWalltime": world.queues[job.site].max_time,
        "failedAttempt": job.attempt - 1,
        "gshare": task.attributes["gshare"],
        "resource_type": "Undefined",
        "job_label": told["prodSourceLabel"],
    }
    for source in ERROR_SOURCES:
        code, text = job.errors.get(source, [0, None])
        record |= {f"{source}ErrorCode": code, f"{source}ErrorDiag": text}
    inputs = {
        "row_ID": job.row,
        "GUID": file.guid,
        "lfn": file.lfn,
        "type": "pseudo_input",
        "dataset": "pseudo_dataset",
        "status": "unknown",
        "prodDBlock": "pseudo_dataset",
        "fsize": 0,
        "datasetID": task.dataset,
        "fileID": file.id,
        "attemptNr": job.attempt - 1,
    }
    logs = {
        "row_ID": job.row + 1,
        "GUID": job.log_guid,
        "lfn": "log.tgz",
        "type": "log",
        "dataset": log.get("dataset"),
        "status": _log_status(job),
        "destinationDBlock": log.get("dataset"),
        "destinationDBlockToken": log.get("token"),
        "destinationSE": log.get("destination"),
        "fsize": job.log_size,
        "checksum": "ad:00000001" if job.log_size else None,
        "datasetID": task.log_dataset,
        "fileID": job.log_file,
        "attemptNr": 0,
    }
    both = {"PandaID": job.id, "jediTaskID": task.id}
    files = [inputs, logs] if log else [inputs]
    record["Files"] = [dict.fromkeys(NEVER_IN_FILE.split()) | both | one for one in files]
    return record


def _log_status(job: Job) -> str:
    if job.status == "finished":
        return "ready"
    return "failed" if job.status in FINAL_JOB else "unknown"
