"""A script as a PanDA task of one job: what is submitted, and what its job does.

The task type is `anal` with a unique name, also with the production role: it is the only kind whose name
PanDA keeps unique, so that a second submission of one attempt gives the first one's id. The script
travels in the parameters of the job, packed, because PanDA and pilots disagree on quoting.
"""

import base64
import gzip
import math
import shlex
from typing import Any

from cmd_daemon.hooks import JobOrder
from cmd_housekeeping.payload import Payload, prepare
from cmd_local.orders import BadOrder
from cmd_panda.naming import name_of
from cmd_panda.settings import NAME, PandaSettings

LONGEST_COMMAND = 100_000
"""Bytes of a job's parameters: a pilot gives them to a shell as one argument, of 128 KiB at most."""

LONGEST_WALLTIME_S = 30 * 86_400
SCRIPT = "cmd_script"
WRAPPER = "cmd_run.sh"


def parameters_of(order: JobOrder, settings: PandaSettings) -> dict[str, Any]:
    """What `task/submit` takes for one attempt of a script. Raises BadOrder."""
    payload = prepare(order, settings.scripts, NAME)
    name = name_of(order.key, settings.prefix)
    queue = settings.queue_for(order.queue)
    parameters: dict[str, Any] = {
        "taskName": name,
        "uniqueTaskName": True,
        "taskType": "anal",
        "vo": settings.vo,
        "prodSourceLabel": settings.label,
        "processingType": settings.processing_type,
        "workingGroup": settings.working_group,
        "taskPriority": settings.priority,
        "architecture": "",
        "transUses": "",
        "transHome": "",
        "transPath": settings.transformation,
        "site": queue,
        "coreCount": order.cores,
        "ramCount": math.ceil(order.memory / 1024**2),
        "ramUnit": "MB",
        "walltime": round(min(order.walltime_s, LONGEST_WALLTIME_S)),
        "maxAttempt": settings.attempts,
        "maxFailure": settings.attempts,
        "skipScout": True,
        "noInput": True,
        "nFiles": 1,
        "nFilesPerJob": 1,
        "pfnList": [name],
        "log": {
            "dataset": "PandaJob_#{pandaid}/",
            "destination": "local",
            "param_type": "log",
            "token": "local",
            "type": "template",
            "value": "log.tgz",
        },
        "jobParameters": [{"type": "constant", "value": command_of(payload)}],
    }
    if settings.cloud:
        parameters["cloud"] = settings.cloud
    return parameters


def command_of(payload: Payload) -> str:
    """One line for a shell, without a quote in it, that unpacks the script and runs it."""
    packed = base64.b64encode(gzip.compress(_wrapper(payload).encode(), mtime=0)).decode()
    command = f"echo {packed} | base64 -d | gzip -d > {WRAPPER} && sh {WRAPPER}"
    if len(command) > LONGEST_COMMAND:
        raise BadOrder(
            f"the script is too long to travel in a PanDA task: {len(command)} bytes packed, at most "
            f"{LONGEST_COMMAND}; install it at the facility and give its absolute path"
        )
    return command


def _wrapper(payload: Payload) -> str:
    lines = ["#!/bin/sh"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in payload.env.items()]
    file = payload.file
    if payload.text is not None:
        file = f"./{SCRIPT}"
        lines.append(f"base64 -d > {SCRIPT} <<'CMD_END' || exit 126")
        lines += [base64.encodebytes(payload.text.encode()).decode().rstrip("\n"), "CMD_END"]
        lines.append(f"chmod +x {SCRIPT} || exit 126")
    lines.append("exec " + shlex.join([*payload.interpreter, file, *payload.args]))
    return "\n".join(lines) + "\n"
