"""Orders as the far side's program `remote/attempt.py` takes them.

key, ref         the attempt and its directory
kind             script or process
needs            [{file, kind, words}]: files that must be there, else it is refused like this
env, walltime_s, memory, grace_s
script or file, interpreter, args      of a script: its text, or where it is
argv, files, output_run                of a process job: its command, and files by name
"""

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from cmd_daemon.hooks import FacilityInfo, JobKind, JobOrder
from cmd_housekeeping.naming import ref_of
from cmd_housekeeping.payload import prepare
from cmd_housekeeping.settings import SshSettings
from cmd_local.orders import (
    GRAPH,
    RUNNER_ORDER,
    BadOrder,
    former_refs,
    no_python,
    read_process,
)

RUNNER = "process_runner.py"
NO_PROGRAM = "program"
"""The kind of refusal that says: put our program there first, then ask again."""

Fields = dict[str, Any]


def runner_program() -> dict[str, bytes]:
    """The runner of process jobs, which travels to the facility: its file by name."""
    return {RUNNER: files("cmd_local").joinpath("stack", RUNNER).read_bytes()}


def far_order(
    order: JobOrder, facility: FacilityInfo, settings: SshSettings, driver: str
) -> Fields:
    """An order for the far side. Raises BadOrder for what trying again cannot mend, OSError for a
    script that cannot be read here."""
    if order.kind is JobKind.PROCESS:
        own = _process(order, facility, settings)
    elif order.kind is JobKind.SCRIPT:
        own = _script(order, settings, driver)
    else:
        raise BadOrder(f"the driver '{driver}' does no {order.kind} jobs, only process and script")
    return {
        "key": order.key,
        "ref": ref_of(order.key),
        "kind": str(order.kind),
        "walltime_s": order.walltime_s,
        "memory": order.memory,
        "grace_s": settings.grace_s,
        **own,
    }


def _script(order: JobOrder, settings: SshSettings, driver: str) -> Fields:
    payload = prepare(order, settings, driver)
    fields = {
        "needs": [],
        "interpreter": list(payload.interpreter),
        "args": list(payload.args),
        "env": dict(payload.env),
    }
    if payload.text is not None:
        return {**fields, "script": payload.text}
    words = f"script file {payload.file} is missing at the facility"
    need = {"file": payload.file, "kind": "permanent", "words": words}
    return {**fields, "file": payload.file, "needs": [need]}


def _process(order: JobOrder, facility: FacilityInfo, settings: SshSettings) -> Fields:
    """A process job; the runner's place is filled in by `with_runner`."""
    attempts = f"{settings.work_dir}/attempts"
    ours = [ref for ref in former_refs(order) if is_ours(ref)]
    graphs = [f"{attempts}/{ref}/{GRAPH}" for ref in ours]
    process = read_process(
        order, facility, settings.pipeline_env, f"{attempts}/{ref_of(order.key)}", graphs
    )
    need = {
        "file": process.python,
        "kind": "permanent",
        "words": no_python(process.python, order, facility.name),
    }
    return {
        "needs": [need] if "/" in process.python else [],
        "env": dict(process.env),
        "argv": process.argv(""),
        "files": {RUNNER_ORDER: json.dumps(process.document, indent=1)},
        "output_run": order.output_run,
    }


def is_ours(ref: str) -> bool:
    """Whether a former attempt's name is one of this driver's, and not of another at another place."""
    parts = ref.split("/")
    return len(parts) == 3 and not any(part.startswith(".") or not part for part in parts)


def with_runner(asked: Sequence[Fields], folder: str) -> list[Fields]:
    """The orders with the runner at its place below a folder of the far side."""
    runner = f"{folder}/{RUNNER}"
    need = {"file": runner, "kind": NO_PROGRAM, "words": f"our program {runner} was removed"}
    return [
        {
            **fields,
            "argv": [fields["argv"][0], runner, *fields["argv"][2:]],
            "needs": [*fields["needs"], need],
        }
        if fields["kind"] == JobKind.PROCESS
        else fields
        for fields in asked
    ]
