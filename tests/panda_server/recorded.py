"""The recordings: reading them, and comparing an answer with a recorded one.

What may differ is declared here and nowhere else, each with its reason.
"""

import json
import re
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parent / "recordings"

# key of a field -> why its value is not compared, only that there is one of the same type
MASKED = {
    "__datetime__": "a moment of the day of the recording",
    "specialHandling": "ends with the moment at which the job was made",
    "jobDuration": "how long the stand-in pilot took",
    "ioIntensity": "measured by the scouts on the recorded machine",
    "GUID": "random; the same in two places where it is the same in the recording",
    "accessed_at": "a moment, as iDDS writes it",
    "created_at": "a moment, as iDDS writes it",
    "updated_at": "a moment, as iDDS writes it",
    "next_poll_at": "a moment, as iDDS writes it",
}
# Call -> its list whose order is what the database made of it.
UNORDERED = {
    "/api/v1/task/get_job_ids": "$.data",
    "/api/v1/task/get_job_descriptions": "$.data",
    "/api/v1/task/get_details": "$.data.PandaID",
}


def lines(name: str) -> list[dict[str, Any]]:
    """The entries of a file of JSON lines."""
    return [json.loads(line) for line in (RECORDINGS / name).read_text().splitlines()]


EXCHANGES = {entry["name"]: entry for entry in lines("exchanges.jsonl")}
LIVES = {entry["name"]: entry for entry in lines("lifecycles.jsonl")}
MESSAGES = [entry["body"] for entry in lines("messages.jsonl")]
BPS = json.loads((RECORDINGS / "bps_submit.json").read_text())
BPS_ARGS = BPS["exchanges"][1]["request"]["body"]["args"]


class Comparison:
    """Differences between a recorded body and ours."""

    def __init__(self, call: str = "") -> None:
        self.differences: list[str] = []
        self._unordered = UNORDERED.get(call)
        self._random: dict[str, str] = {}

    def run(self, recorded: Any, ours: Any) -> list[str]:
        """All differences, as `path: recorded != ours`."""
        self._compare("$", "", recorded, ours)
        return self.differences

    def _compare(self, path: str, key: str, recorded: Any, ours: Any) -> None:
        if isinstance(recorded, dict) and isinstance(ours, dict):
            for name in sorted(recorded.keys() | ours.keys()):
                if (name in recorded) != (name in ours):
                    where = "recorded" if name in recorded else "ours"
                    self.differences.append(f"{path}.{name}: only in {where}")
                else:
                    self._compare(f"{path}.{name}", name, recorded[name], ours[name])
        elif isinstance(recorded, list) and isinstance(ours, list):
            if len(recorded) != len(ours):
                self.differences.append(f"{path}: {len(recorded)} items != {len(ours)} items")
            if path == self._unordered:
                recorded, ours = sorted(recorded, key=_number), sorted(ours, key=_number)
            for at, pair in enumerate(zip(recorded, ours, strict=False)):
                self._compare(f"{path}[{at}]", key, *pair)
        elif key in MASKED and type(recorded) is type(ours) and recorded is not None:
            self._masked(path, key, recorded, ours)
        elif recorded != ours or type(recorded) is not type(ours):
            self.differences.append(f"{path}: {recorded!r} != {ours!r}")

    def _masked(self, path: str, key: str, recorded: Any, ours: Any) -> None:
        if key == "GUID" and self._random.setdefault(recorded, ours) != ours:
            self.differences.append(f"{path}: {ours!r} where it should be the same as before")
        if isinstance(recorded, str) and _shape(recorded) != _shape(ours):
            self.differences.append(f"{path}: {recorded!r} has another form than {ours!r}")


def _shape(text: str) -> str:
    """A masked text without what varies: digits, letters of names of days and months."""
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
        return "guid"
    iso = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?", "moment", text)
    named = re.sub(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d UTC", "date", iso)
    return re.sub(r"\d+\.\d{6}", "seconds", named)


def _number(item: Any) -> int:
    """The job's number; other lists stay as they are."""
    number = item.get("PandaID", 0) if isinstance(item, dict) else item
    return number if isinstance(number, int) else 0
