"""What plugins answer, made fit to be decided on and stored, or refused in words.

A plugin's nonsense must hurt only its own jobs: past this point every text can be stored, every
number has its range, and every error class is one of ours.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import islice
from typing import Any

import structlog

from cmd_daemon.hooks.placement import Factor
from cmd_daemon.hooks.ports import Progress
from cmd_daemon.kernel.outcome import ErrorClass, Failure, Outcome, QuantaCount

log = structlog.get_logger()

TEXT = 8000
"""Characters of a message that are kept."""

REF = 1000
"""Characters of the outside system's name for an attempt, at most."""

FAILURES = 200
EXTRA = 100_000
"""Characters of an outcome's `extra` as JSON; a larger one is left out."""

MOST = 2**53
LATEST = 253_402_300_799_000_000
"""The last second of the year 9999 in microseconds, the end of protobuf's timestamps."""

PLAIN = Outcome(ok=True)


class Nonsense(Exception):
    """A plugin's answer cannot be used; the message says what of it."""


def words(value: object) -> str:
    """A text that can be stored: shortened, without lone surrogates and zero characters."""
    text = value if isinstance(value, str) else repr(value)
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace("\0", " ")[:TEXT]


def listed(answers: Any, asked: int) -> Sequence[Any]:
    """What a driver returned for so many keys, as a list; nonsense counts as no answer."""
    try:
        return list(islice(answers, 10 * asked + 100))
    except Exception:
        log.exception("a driver's answer cannot be read")
        return []


def key_of(answer: object) -> str:
    """The key an answer is for; "" if it has none."""
    key = getattr(answer, "key", "")
    return key if isinstance(key, str) else ""


def usable_ref(ref: str) -> bool:
    """Whether the outside system's name for an attempt can be kept as it is."""
    return len(ref) <= REF and words(ref) == ref


def checked_outcome(given: object) -> Outcome:
    """An outcome whose every field can be stored. Raises Nonsense, in words, for one that is none."""
    if given == PLAIN:
        return PLAIN
    if not isinstance(given, Outcome):
        raise Nonsense(f"the outcome is {given!r:.200}")
    if not isinstance(given.ok, bool):
        raise Nonsense(f"`ok` is {given.ok!r:.200}")
    if not isinstance(given.error_class, ErrorClass | None):
        raise Nonsense(f"the error class is {given.error_class!r:.200}")
    if not isinstance(given.quanta, Mapping):
        raise Nonsense(f"the quanta are {given.quanta!r:.200}")
    if not isinstance(given.failures, Iterable):
        raise Nonsense(f"the failures are {given.failures!r:.200}")
    extra = dict(given.extra) if isinstance(given.extra, Mapping) else {}
    try:
        keep = len(json.dumps(extra)) <= EXTRA
    except (TypeError, ValueError, RecursionError):
        keep = False
    return Outcome(
        ok=given.ok,
        message=words(given.message),
        exit_code=_exit(given.exit_code),
        error_class=given.error_class,
        quanta={words(task): _count(count) for task, count in given.quanta.items()},
        failures=tuple(_failure(each) for each in islice(given.failures, FAILURES)),
        output_run=None if given.output_run is None else words(given.output_run),
        started_at=_moment(given.started_at),
        finished_at=_moment(given.finished_at),
        extra=extra if keep else {},
    )


def checked_progress(given: Progress) -> str:
    """Progress as a JSON text, without what is zero. Raises Nonsense."""
    if not isinstance(given, Progress):
        raise Nonsense(f"the progress is {given!r:.200}")
    if not isinstance(given.rate, int | float) or not math.isfinite(given.rate):
        raise Nonsense(f"the rate is {given.rate!r:.200}")
    for number in (given.done, given.total, given.failed, given.bytes):
        _number(number)
    shown = {**asdict(given), "unit": words(given.unit), "note": words(given.note)}
    return json.dumps({name: value for name, value in shown.items() if value})


def checked_factors(given: Iterable[Factor]) -> str:
    """The factors of a placement as JSON: a list of [facility, name, value, passed, detail], without
    names of fields, because each of 10^5 groups has a dozen. Raises whatever nonsense leads to."""
    return f"[{','.join(map(_factor, given))}]"


@lru_cache(maxsize=4096)
def _factor(each: Factor) -> str:
    value = float(each.value)
    if not math.isfinite(value):
        raise Nonsense(f"the factor {each.name!r:.200} is {value}")
    return json.dumps(
        [
            words(each.facility),
            words(each.name),
            float(f"{value:.6g}"),
            bool(each.passed),
            words(each.detail),
        ],
        separators=(",", ":"),
    )


def _number(value: Any, most: int = MOST) -> int:
    if not isinstance(value, int) or not 0 <= value <= most:
        raise Nonsense(f"a count is {value!r:.200}")
    return value


def _count(given: Any) -> QuantaCount:
    if not isinstance(given, QuantaCount):
        raise Nonsense(f"a task's quanta are {given!r:.200}")
    for number in (given.expected, given.successful, given.failed, given.blocked, given.unknown):
        _number(number)
    return given


def _exit(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or not -(2**31) <= value < 2**31):
        raise Nonsense(f"an exit code is {value!r:.200}")
    return value


def _failure(given: Any) -> Failure:
    if not isinstance(given, Failure):
        raise Nonsense(f"a failure is {given!r:.200}")
    return Failure(words(given.task), words(given.data_id), words(given.message), _exit(given.exit))


def _moment(value: Any) -> int | None:
    return None if value is None else _number(value, LATEST)
