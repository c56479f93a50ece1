"""What the order of a script means far away: the text that travels, or the file that is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cmd_daemon.hooks import JobKind, JobOrder
from cmd_housekeeping.settings import ScriptSettings
from cmd_local.orders import BadOrder, read_script

MAX_SCRIPT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Payload:
    """A script ready to travel: its `text`, or None for a `file` that is at the facility already;
    the `interpreter` to put before it (empty where it names its own); arguments; environment."""

    text: str | None
    file: str
    interpreter: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]


def prepare(order: JobOrder, settings: ScriptSettings, driver: str) -> Payload:
    """The payload of one attempt.

    `params.script` is the text itself (several lines, or it starts with '#!'), a file below
    `scripts_dir` of the daemon's machine, whose text travels, or an absolute path at the facility.
    A text without '#!' is given to /bin/sh. Raises BadOrder for what trying again cannot mend.
    """
    if order.kind is not JobKind.SCRIPT:
        raise BadOrder(f"the driver '{driver}' does no {order.kind} jobs, only script")
    script = read_script(order, settings.env)
    if script.inline:
        text = script.script
    elif script.script.startswith("/"):
        return Payload(None, script.script, ("/bin/sh",), script.args, script.env)
    else:
        text = _read(script.script, settings.scripts_dir, order.facility, driver)
    interpreter = () if text.startswith("#!") else ("/bin/sh",)
    return Payload(text, "", interpreter, script.args, script.env)


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
