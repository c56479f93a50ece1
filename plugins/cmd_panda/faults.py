"""What PanDA's answers mean. It says no in many ways, most of them with HTTP status 200.

Sources: the recorded exchanges that the tests replay. A credential that is not accepted, or has expired,
did nothing and is put right by a person: NOT_YET, so that work waits and nothing is counted.
"""

import ast
import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cmd_daemon.hooks import DriverError, ErrorClass

WORDS = 500
CREDENTIAL = ("Token authentication failed", "SSL secure connection is required", "banned")
ROLE = ("production or pilot role required", "not the task owner or no production role")
DEFECT = (
    "Argument error",
    "Type error",
    "expecting GET",
    "expecting POST",
    "received invalid JSON",
)
BUSY = frozenset({408, 425, 429, 503})


class Kind(Enum):
    """What is to be made of a refusal."""

    CREDENTIAL = "credential"
    ROLE = "role"
    DEFECT = "defect"
    GONE = "gone"
    STATE = "state"
    FULL = "full"
    DOWN = "down"
    SERVER = "server"
    LOST = "lost"


_CLASSES = {
    Kind.CREDENTIAL: ErrorClass.NOT_YET,
    Kind.ROLE: ErrorClass.PERMANENT,
    Kind.DEFECT: ErrorClass.PERMANENT,
    Kind.GONE: ErrorClass.PERMANENT,
    Kind.STATE: ErrorClass.PERMANENT,
    Kind.FULL: ErrorClass.NOT_YET,
    Kind.DOWN: ErrorClass.TRANSIENT,
    Kind.SERVER: ErrorClass.TRANSIENT,
    Kind.LOST: ErrorClass.UNKNOWN,
}
_HINTS = {
    Kind.CREDENTIAL: "is our credential valid, and is `origin` one of its groups?",
    Kind.ROLE: "the credential needs the production role: set `origin` to VO:production",
}


class PandaFault(DriverError):
    """PanDA said no, or did not answer. LOST: nobody knows whether the call took effect. DOWN: it would
    answer nothing just now; SERVER: it could not do this one thing."""

    def __init__(self, kind: Kind, message: str) -> None:
        hint = _HINTS.get(kind)
        super().__init__(_CLASSES[kind], f"{message} ({hint})" if hint else message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in PanDA's envelope. `success` alone says little: see `commanded` and `needed`."""

    success: bool
    message: str
    data: Any


def said(text: str) -> str:
    """What a server wrote, short and on one line."""
    return " ".join(text.split())[:WORDS]


def refuse_status(status: int, text: str, there: str, changes: bool) -> None:
    """Raise for an HTTP status that is no answer. `changes`: the call changes something, so that an
    error in the middle of it leaves open whether it did."""
    if status < 300:
        return
    words = f"{there} answered {status}: {said(text)}"
    if status in (401, 403):
        if "is forbidden" in text and "method" in text:
            raise PandaFault(Kind.DEFECT, f"{words}; it does not know this call: is it too old?")
        raise PandaFault(Kind.CREDENTIAL, words)
    if status in BUSY:
        raise PandaFault(Kind.DOWN, f"{words}; it is busy")
    if any(each in text for each in DEFECT):
        raise PandaFault(Kind.DEFECT, words)
    if status >= 500:
        raise PandaFault(Kind.LOST if changes else Kind.DOWN, words)
    raise PandaFault(Kind.DEFECT, words)


def parsed(text: str, there: str, changes: bool) -> Any:
    """The value of an answer's text. The content type says nothing: PanDA gives JSON as text/plain, and
    the Python form where something on the way has dropped our Accept header."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        words = f"{there} gave no JSON: {said(text)[:200]!r}"
        raise PandaFault(Kind.LOST if changes else Kind.SERVER, words) from None


def enveloped(value: Any, there: str, changes: bool) -> Answer:
    """The envelope of the new calls. Raises for what is none."""
    if isinstance(value, dict) and isinstance(value.get("success"), bool):
        return Answer(value["success"], str(value.get("message") or ""), value.get("data"))
    words = f"{there} gave no envelope: {said(str(value))[:200]}"
    raise PandaFault(Kind.LOST if changes else Kind.SERVER, words)


def refused(answer: Answer, there: str) -> PandaFault:
    """The refusal that an envelope means: nothing was done."""
    text = answer.message
    words = f"{there}: {said(text) or 'refused without a reason'}"
    if any(each in text for each in CREDENTIAL):
        return PandaFault(Kind.CREDENTIAL, words)
    if any(each in text for each in ROLE):
        return PandaFault(Kind.ROLE, words)
    if any(text.startswith(each) for each in DEFECT):
        return PandaFault(Kind.DEFECT, words)
    if "not found" in text.lower():
        return PandaFault(Kind.GONE, words)
    return PandaFault(Kind.SERVER, words)


def needed(answer: Answer, there: str) -> Any:
    """The data of a call that reads. Raises where it says no."""
    if not answer.success:
        raise refused(answer, there)
    return answer.data


def commanded(answer: Answer, there: str) -> None:
    """Raise unless a command was registered: `success` may be true for one that was refused, and then
    `data` tells (2 not found, 4 not in this state; None for calls that have no code)."""
    words = f"{there}: {said(answer.message)}"
    if answer.data == 2:
        raise PandaFault(Kind.GONE, words)
    if answer.data == 4:
        raise PandaFault(Kind.STATE, words)
    if not answer.success or answer.data not in (0, None):
        raise refused(answer, there)


def unpaired(value: Any, there: str, changes: bool) -> Any:
    """The value of a relayed iDDS answer: [ok, value], with [false, text] once more inside where
    iDDS itself did not answer. Raises where it says no."""
    for _ in range(2):
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], bool)):
            return value
        ok, value = value
        if not ok:
            text = said(str(value))
            if any(each in text for each in CREDENTIAL):
                raise PandaFault(Kind.CREDENTIAL, f"{there}: {text}")
            if "unexpected keyword argument" in text or "is not a command" in text:
                raise PandaFault(Kind.DEFECT, f"{there}: {text}")
            # A connection between PanDA and iDDS may also break after the call was carried out.
            raise PandaFault(Kind.LOST if changes else Kind.SERVER, f"{there}: {text}")
    return value
