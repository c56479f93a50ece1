"""The states of PanDA tasks in the daemon's words. Source: the states of JEDI, and the recorded lives."""

import re

from cmd_daemon.hooks import Phase, Progress
from cmd_panda.records import TaskRecord
from cmd_panda.watching import FINAL

QUEUED = frozenset(
    {
        "registered",
        "defined",
        "assigning",
        "ready",
        "pending",
        "staging",
        "topreprocess",
        "preprocessing",
        "rerefine",
    }
)
ENDING = frozenset({"aborting", "toabort", "aborted", "tobroken", "broken"})
"""Nothing may be asked of a task here: pausing one that is aborting brings it back."""

HELD = {
    "paused": "paused at PanDA: it goes on when it is resumed",
    "throttled": "throttled by PanDA: too many of its jobs failed or wait",
    "exhausted": "parked by PanDA (exhausted): a person must decide",
}
HOUR_US = 3_600_000_000
_TAG = re.compile(r"<[^>]*>")
_LINK = re.compile(r"<a\s+href=[\"'](https?://[^\"'\s]+)[\"']", re.IGNORECASE)


def phase_of(status: str) -> Phase:
    """How far a task is. A state we do not know is one that is under way."""
    if status in FINAL:
        return Phase.DONE
    return Phase.QUEUED if status in QUEUED else Phase.RUNNING


def words_of(dialog: str) -> str:
    """An errorDialog without its markup."""
    return " ".join(_TAG.sub(" ", dialog).split())


def link_of(dialog: str) -> str:
    """The log of JEDI that an errorDialog points to: why the brokerage found no queue; "" if none."""
    found = _LINK.search(dialog)
    return found.group(1) if found else ""


def stuck_words(task: TaskRecord, moved_at: int, now: int, stuck_h: float) -> str:
    """That nothing has changed for so long, with what PanDA says about it; "" if something has.
    `moved_at` is when it was last seen to get on."""
    if task.status in FINAL or task.status == "paused" or now - moved_at < stuck_h * HOUR_US:
        return ""
    hours = (now - moved_at) / HOUR_US
    words = f"no change for {hours:.0f} hours in state '{task.status}'"
    if task.error:
        words += f": {words_of(task.error)}"
    if link := link_of(task.error):
        words += f"; the brokerage's log: {link}"
    return words


def message_of(task: TaskRecord, moved_at: int, now: int, stuck_h: float) -> str:
    """What people should know about a task that is not over; "" if all is well."""
    said = [HELD.get(task.status, ""), stuck_words(task, moved_at, now, stuck_h)]
    if not said[1] and task.error and (task.status in HELD or task.status == "pending"):
        said.append(words_of(task.error))
    return "; ".join(each for each in said if each)


def progress_of(task: TaskRecord, message: str = "") -> Progress:
    """Progress by input files, with what people should know or else the state. Jobs would count twice:
    each try of one is a new job."""
    return Progress(
        done=task.finished,
        total=task.files,
        failed=task.failed + task.missing,
        unit="files",
        note=message or task.status,
    )
