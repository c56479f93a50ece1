"""What an order means on this machine: the files of its attempt's directory and the command."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cmd_daemon.hooks import FacilityInfo, JobKind, JobOrder
from cmd_local.attempts import MARK, WorkDirectory, ref_of
from cmd_local.orders import (
    GRAPH,
    RUNNER_ORDER,
    BadOrder,
    former_refs,
    no_python,
    read_process,
    read_script,
)
from cmd_local.settings import LocalSettings

RUNNER = Path(__file__).parent / "stack" / "process_runner.py"
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""All a job gets of the daemon's own environment, which may hold secrets."""


@dataclass(frozen=True, slots=True)
class Payload:
    """The files of an attempt's directory, by name, and which of them are to be executable."""

    files: Mapping[str, str]
    executables: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Command:
    """What to start, and what it needs to find in its directory."""

    argv: list[str]
    env: Mapping[str, str]
    files: Mapping[str, str]
    executables: frozenset[str] = frozenset()


def prepare(
    order: JobOrder, facility: FacilityInfo, settings: LocalSettings, work: WorkDirectory
) -> Payload:
    """The payload of one attempt. Raises BadOrder for what trying again cannot mend."""
    path = work.path(ref_of(order.key))
    if order.kind is JobKind.PROCESS:
        ready = _process(order, facility, settings, work, path)
    elif order.kind is JobKind.SCRIPT:
        ready = _script(order, settings, path)
    else:
        raise BadOrder(f"the driver 'local' does no {order.kind} jobs, only process and script")
    base = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    command = {
        "key": order.key,
        "argv": ready.argv,
        "env": {**base, **ready.env, MARK: str(path)},
        "cwd": str(path),
        "walltime_s": order.walltime_s,
        "memory": order.memory,
        "grace_s": settings.grace_s,
        "ledger": str(work.ledger),
    }
    files = {
        **ready.files,
        "order.json": json.dumps(asdict(order), indent=1, default=str),
        "command.json": json.dumps(command, indent=1),
    }
    return Payload(files, ready.executables)


def _process(
    order: JobOrder,
    facility: FacilityInfo,
    settings: LocalSettings,
    work: WorkDirectory,
    path: Path,
) -> _Command:
    """A quantum graph built, run and reported by the runner in the facility's stack."""
    former = [work.path(ref) / GRAPH for ref in former_refs(order)]
    graphs = [str(graph) for graph in former if graph.exists()]
    process = read_process(
        order, facility, settings.pipeline_env, str(path), graphs, settings.stack_python
    )
    if "/" in process.python and not Path(process.python).is_file():
        raise BadOrder(no_python(process.python, order, facility.name))
    document = json.dumps(process.document, indent=1)
    return _Command(process.argv(str(RUNNER)), process.env, {RUNNER_ORDER: document})


def _script(order: JobOrder, settings: LocalSettings, path: Path) -> _Command:
    """A script: a file of this machine (below `scripts_dir`, or absolute), or its own text. Without
    the right to be executed, or without '#!', it is given to sh."""
    script = read_script(order, settings.env)
    if script.inline:
        file = str(path / "script")
        start = [file] if script.script.startswith("#!") else ["/bin/sh", file]
        return _Command(
            [*start, *script.args], script.env, {"script": script.script}, frozenset({"script"})
        )
    found = Path(script.script)
    if not found.is_absolute():
        if settings.scripts_dir is None:
            raise BadOrder(
                f"script '{script.script}' is not an absolute path and facility {order.facility} "
                "has no 'scripts_dir' in its settings of the driver 'local'"
            )
        found = settings.scripts_dir / found
    if not found.is_file():
        raise BadOrder(f"script file {found} is missing at facility {order.facility}")
    start = [str(found)] if os.access(found, os.X_OK) else ["/bin/sh", str(found)]
    return _Command([*start, *script.args], script.env, {})
