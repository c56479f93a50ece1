"""The weights: how much better one facility is than another among those that fit.

Four factors, each around 1, larger is better, and each a function of one facility alone (the share
apart, which is one of a whole): taking away a facility that was not chosen changes no choice. The
forms are those of two long-lived brokers, named at each function; where the form differs, the
docstring says why. What is not known weighs 1.
"""

import math
from collections.abc import Iterable

from cmd_daemon.hooks.placement import Held, Link

SLACK = 0.005
"""The share of a campaign's groups by which a facility may be off its target before that outweighs a
factor e of all the other weights: they decide within half a percent, the shares beyond."""

CAP = 5.0
"""Most powers of e the share gives or takes."""

HOUR_S = 3600.0
"""The time to fetch the inputs that halves a facility's weight."""


def share_deficit(target: float, existing: float) -> float:
    """How far a facility is below its share: target - existing, both parts of 1.

    DIRAC's ByShare transformation plugin sends work to the site with the largest difference. Both are
    taken over the facilities that fit, so that the others take over by share while one is down.
    """
    return target - existing


def share_exponent(deficit: float, groups: int) -> float:
    """The deficit in units of what it may be: `SLACK`, and never less than one group of those there
    will be (the first few groups cannot be shared out any finer)."""
    return deficit / max(SLACK, 1.0 / (groups + 1))


def share_weight(exponent: float) -> float:
    """exp(deficit / slack), at most e^5 and at least e^-5.

    A difference may be zero or negative and cannot multiply; its exponential can, and keeps the
    order of DIRAC's rule.
    """
    return math.exp(max(-CAP, min(CAP, exponent)))


def throughput_weight(
    slots: int, running: int, queued: int, given: int, throughput: float | None
) -> float:
    """How soon a facility gets to another group: (k + 1) / (k + 2 + running + queued + given).

    JEDI's job brokerage weighs a queue by (running + 1) / (queued + 10): what runs shows what a
    facility can do, what waits what it has to do first. Here k is what it can do: the jobs it finished in
    an hour lately; if unknown, the running ones as in JEDI; and all its slots while nothing waits,
    because here, unlike there, the slots are known and an idle facility must not weigh least.
    What runs is counted as work in hand too, so that the weight lies between 0 and 1 and an hour's
    work and a slot's compare. `given` are the groups of the same set that were sent there.
    """
    if throughput is not None:
        able = max(0.0, throughput)
    else:
        able = float(running if queued else max(slots, running))
    return (able + 1.0) / (able + 2.0 + running + queued + given)


def locality_weight(held: Held, total: Held) -> float:
    """(available + total) / (total * (missing files / 100 + 1)), in bytes: JEDI's second factor.

    2 where all inputs are, 1 where none is and none would count, less with each missing file: many
    small files cost more than their bytes. 1 if there are no inputs.
    """
    part = part_held(held, total)
    if part is None:
        return 1.0
    missing = max(0, total.files - held.files)
    return (part + 1.0) / (missing / 100.0 + 1.0)


def part_held(held: Held, total: Held) -> float | None:
    """The part of the input bytes that is there, 0 to 1; of the files where no bytes are known; None if
    there are no inputs."""
    there, whole = (held.bytes, total.bytes) if total.bytes > 0 else (held.files, total.files)
    return min(max(there, 0), whole) / whole if whole > 0 else None


def network_weight(missing: int, links: Iterable[Link]) -> float | None:
    """Half of (queued weight + throughput weight) of the best way in: JEDI's network weight.

    JEDI scales the two by the extremes among the candidates of the moment; here each is
    1 / (1 + hours), of what already waits for the link and of the missing bytes, so that a
    facility's weight does not depend on who else is asked. 1 if nothing is missing; None if no
    link has been measured.
    """
    if missing <= 0:
        return 1.0
    found = [
        0.5 * (_soon(link.backlog_bytes, rate) + _soon(missing, rate))
        for link in links
        if (rate := link.bytes_per_s) is not None
    ]
    return max(found) if found else None


def _soon(amount: int, bytes_per_s: float) -> float:
    """1 / (1 + hours) to move so many bytes; 1 for none, 0 if nothing moves."""
    if amount <= 0:
        return 1.0
    if bytes_per_s <= 0.0:
        return 0.0
    return 1.0 / (1.0 + amount / bytes_per_s / HOUR_S)
