"""Times of a schedule: a cron expression in a time zone."""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

SHORTEST = timedelta(minutes=5)
"""A schedule may not fire more often."""

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}


class Crontab:
    """The times of one schedule.

    Five fields as in cron(5), or a nickname such as @monthly, by the clock of a time zone. When
    clocks go forward, a time that is left out fires at once after the gap; when they go back, a time
    that comes twice fires the first time only (as Debian's cron does it). Raises ValueError, with words
    for people, for what is none, what never comes, and what comes more often than every five minutes.
    """

    def __init__(self, expression: str, zone: str) -> None:
        self._expression = NICKNAMES.get(expression.strip().lower(), expression.strip())
        try:
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"'{zone[:60]}' is no time zone, such as America/Los_Angeles"
            ) from error
        if len(self._expression.split()) != 5:
            raise ValueError(
                "must be five fields: minute hour day-of-month month day-of-week, such as '0 6 1 * *'"
            )
        try:
            times = CronSim(self._expression, datetime(2024, 1, 1, tzinfo=self._zone))
            some = [next(times) for _ in range(40)]
        except CronSimError as error:
            raise ValueError(f"is no cron expression: {str(error).lower()}") from error
        except StopIteration:
            raise ValueError("names a time that never comes") from None
        if min(after - before for before, after in itertools.pairwise(some)) < SHORTEST:
            raise ValueError("must not come more often than every five minutes")

    def after(self, at: int) -> int:
        """The next time after a moment, both in microseconds UTC."""
        begin = datetime.fromtimestamp(at // 1_000_000, UTC).astimezone(self._zone)
        for found in CronSim(self._expression, begin):
            micros = round(found.astimezone(UTC).timestamp()) * 1_000_000
            if micros > at:
                return micros
        raise AssertionError("an expression that was checked always comes again")

    def local(self, at: int) -> datetime:
        """A moment (microseconds UTC) by the schedule's clock."""
        return datetime.fromtimestamp(at // 1_000_000, UTC).astimezone(self._zone)
