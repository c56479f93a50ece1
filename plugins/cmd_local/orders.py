"""What the orders of script and process jobs say, wherever they are carried out.

Both the driver of this machine and those that reach other machines read orders here, so that a
script sees the same arguments and a process job the same runner at every facility.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmd_daemon.hooks import FacilityInfo, JobOrder

TEMPLATE_NAMES = ("campaign", "step", "group", "facility", "attempt", "where", "output_run")
RUNNER_ORDER = "runner.json"
GRAPH = "graph.qg"


class BadOrder(Exception):
    """The order cannot be carried out at this facility as it is; the message is for people."""


# ---- scripts


@dataclass(frozen=True, slots=True)
class ScriptOrder:
    """A script, its arguments and its environment. `script` is the text itself where `inline`, else
    a file's name."""

    script: str
    inline: bool
    args: tuple[str, ...]
    env: Mapping[str, str]


class _Strict(dict[str, Any]):
    """The names that templates may use; any other is an error that lists these."""

    def __missing__(self, name: str) -> Any:
        raise BadOrder(
            f"unknown name {{{name}}} in a script's arguments; there are: "
            + ", ".join(f"{{{known}}}" for known in TEMPLATE_NAMES)
        )


def _fill(text: Any, names: Mapping[str, Any]) -> str:
    """One argument or value with its {names} filled in."""
    if not isinstance(text, str | int | float):
        raise BadOrder(f"a script's arguments must be texts or numbers, not {text!r}")
    try:
        filled = str(text).format_map(names)
    except (ValueError, IndexError, AttributeError, KeyError) as error:
        raise BadOrder(f"'{text}' is not a good template ({error}); write {{{{ for a brace") from (
            error
        )
    if "\0" in filled:
        raise BadOrder("a script's arguments cannot hold a zero byte")
    return filled


def _variable(name: Any) -> str:
    text = str(name)
    if not text.isidentifier() or not text.isascii():
        raise BadOrder(f"'{text}' is not a name for an environment variable")
    return text


def read_script(order: JobOrder, env: Mapping[str, str]) -> ScriptOrder:
    """What a script's order says; `env` is the environment of all scripts at the facility.

    `params.script` is the text itself (several lines, or it starts with '#!') or a file's name,
    `args` and `env` are templates of TEMPLATE_NAMES. Raises BadOrder.
    """
    unknown = set(order.params) - {"script", "args", "env"}
    if unknown:
        raise BadOrder(f"script jobs have no parameter {', '.join(sorted(unknown))}")
    script = order.params.get("script")
    if not isinstance(script, str) or not script.strip():
        raise BadOrder("the job names no script")
    args, own = order.params.get("args") or [], order.params.get("env") or {}
    if not isinstance(args, list | tuple) or not isinstance(own, Mapping):
        raise BadOrder("'args' must be a list and 'env' a mapping")
    names = _Strict({name: getattr(order, name) for name in TEMPLATE_NAMES})
    surroundings = {
        **env,
        **{f"CMD_{name.upper()}": str(names[name]) for name in TEMPLATE_NAMES},
        **{_variable(name): _fill(value, names) for name, value in own.items()},
        "CMD_KEY": order.key,
    }
    inline = "\n" in script or script.startswith("#!")
    return ScriptOrder(script, inline, tuple(_fill(arg, names) for arg in args), surroundings)


# ---- process jobs


@dataclass(frozen=True, slots=True)
class ProcessOrder:
    """A process job: the Python of its stack, the document that its runner reads (to be written as
    `runner.json` into the attempt's directory) and its environment."""

    python: str
    document: Mapping[str, Any]
    env: Mapping[str, str]

    def argv(self, runner: str) -> list[str]:
        """The command, to be started in the attempt's directory, with the runner's place there."""
        return [self.python, runner, RUNNER_ORDER]


def former_refs(order: JobOrder) -> tuple[str, ...]:
    """The former attempts whose work a rescue takes over, oldest first; none for other orders."""
    return tuple(reversed(order.former_refs)) if order.mode == "missing-only" else ()


def read_process(
    order: JobOrder,
    facility: FacilityInfo,
    env: Mapping[str, str],
    work_dir: str,
    graphs: Sequence[str],
    python: str | None = None,
) -> ProcessOrder:
    """What a process job's order says at a facility.

    `env` is the environment of process jobs there, `work_dir` the attempt's directory there and
    `graphs` the graphs of former attempts, oldest first (a graph that is not there is left out by
    the runner). `python` replaces the stack's. Raises BadOrder.
    """
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
    python = python or facility.stacks.get(order.stack)
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
    made_in = order.step_chain.removesuffix(f"/{order.step}")
    document = {
        "key": order.key,
        "butler": butler,
        "pipeline": pipeline,
        "where": order.where,
        "inputs": list(order.inputs),
        # What the campaign made itself a facility has only in part: what was made there or came there.
        "inputs_if_there": [name for name in order.inputs if name.startswith(f"{made_in}/")],
        "output_run": order.output_run,
        "skip_existing_in": list(order.former_runs) if order.mode == "missing-only" else [],
        "previous_graphs": list(graphs),
        "jobs": processes,
        "work_dir": work_dir,
        "config": dict(config),
    }
    return ProcessOrder(python, document, {**env, "PYTHONUNBUFFERED": "1", "CMD_KEY": order.key})


def no_python(python: str, order: JobOrder, facility: str) -> str:
    """What to say where the Python of a stack is not where the configuration has it."""
    return (
        f"there is no Python {python} of stack '{order.stack}' at facility {facility}; correct "
        "'stacks' in the facility's configuration, or install the stack there"
    )
