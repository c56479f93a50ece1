"""What the order of a script means: its text, its arguments and its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import JobKind, JobOrder
from cmd_housekeeping.settings import ScriptSettings

TEMPLATE_NAMES = ("campaign", "step", "group", "facility", "attempt", "where", "output_run")
MAX_SCRIPT = 1024 * 1024


class BadOrder(Exception):
    """The order cannot be carried out as it is; the message is for people."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A script ready to travel: its `text`, or None for a `file` that is at the facility already;
    the `interpreter` to put before it (empty where it names its own); arguments; environment."""

    text: str | None
    file: str
    interpreter: tuple[str, ...]
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


def prepare(order: JobOrder, settings: ScriptSettings, driver: str) -> Payload:
    """The payload of one attempt.

    `params.script` is the text itself (several lines, or it starts with '#!'), a file below
    `scripts_dir` of the daemon's machine, whose text travels, or an absolute path at the facility.
    A text without '#!' is given to /bin/sh. Raises BadOrder for what trying again cannot mend.
    """
    if order.kind is not JobKind.SCRIPT:
        raise BadOrder(f"the driver '{driver}' does no {order.kind} jobs, only script")
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
    filled = tuple(_fill(arg, names) for arg in args)
    surroundings = {
        **settings.env,
        **{f"CMD_{name.upper()}": str(names[name]) for name in TEMPLATE_NAMES},
        **{_name(name): _fill(value, names) for name, value in env.items()},
        "CMD_KEY": order.key,
    }
    if "\n" in script or script.startswith("#!"):
        text, file = script, ""
    elif script.startswith("/"):
        return Payload(None, script, ("/bin/sh",), filled, surroundings)
    else:
        text, file = _read(script, settings.scripts_dir, order.facility, driver), ""
    interpreter = () if text.startswith("#!") else ("/bin/sh",)
    return Payload(text, file, interpreter, filled, surroundings)


def _name(name: Any) -> str:
    text = str(name)
    if not text.isidentifier() or not text.isascii():
        raise BadOrder(f"'{text}' is not a name for an environment variable")
    return text


def _read(script: str, scripts_dir: Path | None, facility: str, driver: str) -> str:
    """The text of a script below the scripts folder, and nowhere else."""
    if scripts_dir is None:
        raise BadOrder(
            f"script '{script}': facility {facility} has no 'scripts_dir' in its settings of the "
            f"driver '{driver}'; set it, or give an absolute path at the facility"
        )
    root = scripts_dir.resolve()
    file = (root / script).resolve()
    if not file.is_relative_to(root):
        raise BadOrder(f"script '{script}' is not below {scripts_dir}")
    try:
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise BadOrder(
            f"script '{script}' is missing in {scripts_dir}; facility {facility} cannot run it"
        ) from None
    if len(data) > MAX_SCRIPT:
        raise BadOrder(f"script '{script}' has {len(data)} bytes, at most {MAX_SCRIPT} may travel")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadOrder(f"script '{script}' is not a text in UTF-8") from None
