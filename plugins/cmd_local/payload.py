"""What an order means here: the files of its attempt's directory and the command to run."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import FacilityInfo, JobKind, JobOrder
from cmd_local.attempts import MARK, WorkDirectory, ref_of
from cmd_local.settings import LocalSettings

RUNNER = Path(__file__).parent / "stack" / "process_runner.py"
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""All a job gets of the daemon's own environment, which may hold secrets."""

TEMPLATE_NAMES = ("campaign", "step", "group", "facility", "attempt", "where", "output_run")


class BadOrder(Exception):
    """The order cannot be carried out at this facility as it is; the message is for people."""


@dataclass(frozen=True, slots=True)
class Payload:
    """The files of an attempt's directory, by name, and which of them are to be executable."""

    files: Mapping[str, str]
    executables: frozenset[str] = frozenset()


def prepare(
    order: JobOrder, facility: FacilityInfo, settings: LocalSettings, work: WorkDirectory
) -> Payload:
    """The payload of one attempt. Raises BadOrder for what trying again cannot mend."""
    path = work.path(ref_of(order.key))
    if order.kind is JobKind.PROCESS:
        argv, env, files, executables = _process(order, facility, settings, work, path)
    elif order.kind is JobKind.SCRIPT:
        argv, env, files, executables = _script(order, settings, path)
    else:
        raise BadOrder(f"the driver 'local' does no {order.kind} jobs, only process and script")
    base = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    command = {
        "key": order.key,
        "argv": argv,
        "env": {**base, **env, MARK: str(path), "CMD_KEY": order.key},
        "cwd": str(path),
        "walltime_s": order.walltime_s,
        "memory": order.memory,
        "grace_s": settings.grace_s,
        "ledger": str(work.ledger),
    }
    files["order.json"] = json.dumps(asdict(order), indent=1, default=str)
    files["command.json"] = json.dumps(command, indent=1)
    return Payload(files, executables)


def _process(
    order: JobOrder,
    facility: FacilityInfo,
    settings: LocalSettings,
    work: WorkDirectory,
    path: Path,
) -> tuple[list[str], dict[str, str], dict[str, str], frozenset[str]]:
    """A quantum graph built, run and reported by the runner in the facility's stack."""
    unknown = set(order.params) - {"pipeline", "config", "processes"}
    if unknown:
        raise BadOrder(f"process jobs have no parameter {', '.join(sorted(unknown))}")
    pipeline = order.params.get("pipeline")
    if not isinstance(pipeline, str) or not pipeline:
        raise BadOrder("the step names no pipeline")
    config = order.params.get("config") or {}
    processes = order.params.get("processes", 1)
    if not isinstance(config, Mapping) or not isinstance(processes, int) or processes < 1:
        raise BadOrder("'config' must map task:field to values, 'processes' be a number from 1 on")
    python = settings.stack_python or facility.stacks.get(order.stack)
    if python is None:
        has = ", ".join(sorted(facility.stacks)) or "none"
        raise BadOrder(
            f"facility {facility.name} has no stack '{order.stack}' (it has: {has}); "
            "install it there and name it in the facility's configuration, or change the campaign"
        )
    butler = facility.butlers.get(order.butler)
    if butler is None:
        has = ", ".join(sorted(facility.butlers)) or "none"
        raise BadOrder(
            f"facility {facility.name} has no Butler repository '{order.butler}' (it has: {has})"
        )
    rescue = order.mode == "missing-only"
    graphs = [work.path(ref) / "graph.qg" for ref in reversed(order.former_refs)]
    run = {
        "key": order.key,
        "butler": butler,
        "pipeline": pipeline,
        "where": order.where,
        "inputs": list(order.inputs),
        "output_run": order.output_run,
        "skip_existing_in": list(order.former_runs) if rescue else [],
        "previous_graphs": [str(graph) for graph in graphs if graph.exists()] if rescue else [],
        "jobs": processes,
        "work_dir": str(path),
        "config": dict(config),
    }
    env = {**settings.pipeline_env, "PYTHONUNBUFFERED": "1"}
    argv = [python, str(RUNNER), "runner.json"]
    return argv, env, {"runner.json": json.dumps(run, indent=1)}, frozenset()


class _Strict(dict[str, Any]):
    """The names a script's arguments may use; any other is an error that lists these."""

    def __missing__(self, name: str) -> Any:
        raise BadOrder(
            f"unknown name {{{name}}} in a script's arguments; there are: "
            + ", ".join(f"{{{known}}}" for known in TEMPLATE_NAMES)
        )


def _fill(text: Any, names: Mapping[str, Any]) -> str:
    """One argument with its {names} filled in."""
    if not isinstance(text, str | int | float):
        raise BadOrder(f"a script's arguments must be texts or numbers, not {text!r}")
    try:
        return str(text).format_map(names)
    except (ValueError, IndexError, AttributeError, KeyError) as error:
        raise BadOrder(f"'{text}' is not a good template ({error}); write {{{{ for a brace") from (
            error
        )


def _script(
    order: JobOrder, settings: LocalSettings, path: Path
) -> tuple[list[str], dict[str, str], dict[str, str], frozenset[str]]:
    """A script: a file at the facility (below `scripts_dir`, or absolute), or its own text, which
    has several lines or starts with '#!'. Without the right to be executed it is given to sh."""
    unknown = set(order.params) - {"script", "args", "env"}
    if unknown:
        raise BadOrder(f"script jobs have no parameter {', '.join(sorted(unknown))}")
    script = order.params.get("script")
    if not isinstance(script, str) or not script.strip():
        raise BadOrder("the job names no script")
    args, env = order.params.get("args") or [], order.params.get("env") or {}
    if not isinstance(args, list | tuple) or not isinstance(env, Mapping):
        raise BadOrder("'args' must be a list and 'env' a mapping")
    names = _Strict({name: getattr(order, name) for name in TEMPLATE_NAMES})
    filled = [_fill(arg, names) for arg in args]
    surroundings = {
        **settings.env,
        **{f"CMD_{name.upper()}": str(names[name]) for name in TEMPLATE_NAMES},
        **{str(name): _fill(value, names) for name, value in env.items()},
    }
    if "\n" in script or script.startswith("#!"):
        if script.startswith("#!"):
            return [str(path / "script"), *filled], surroundings, {"script": script}, _SCRIPT
        return ["/bin/sh", str(path / "script"), *filled], surroundings, {"script": script}, _SCRIPT
    file = Path(script)
    if not file.is_absolute():
        if settings.scripts_dir is None:
            raise BadOrder(
                f"script '{script}' is not an absolute path and facility {order.facility} "
                "has no 'scripts_dir' in its settings of the driver 'local'"
            )
        file = settings.scripts_dir / file
    if not file.is_file():
        raise BadOrder(f"script file {file} is missing at facility {order.facility}")
    start = [str(file)] if os.access(file, os.X_OK) else ["/bin/sh", str(file)]
    return [*start, *filled], surroundings, {}, frozenset()


_SCRIPT = frozenset({"script"})
