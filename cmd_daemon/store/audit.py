"""The audit, for readers."""

from collections.abc import Sequence

from sqlalchemy import func, or_, select

from cmd_daemon.kernel.records import AuditRow
from cmd_daemon.store import codec
from cmd_daemon.store.dialect import ReaderConnection
from cmd_daemon.store.reading import columns
from cmd_daemon.store.tables import audit


class AuditReading:
    """The part of the store that knows who called what."""

    _reading: ReaderConnection

    async def audits(
        self,
        before_id: int = 0,
        limit: int = 100,
        campaign: str = "",
        name: str = "",
        who: str = "",
        since: int = 0,
        refused: bool = False,
    ) -> Sequence[tuple[int, AuditRow]]:
        """A page of calls with their ids, the last first: those with an id below `before_id`, or from the
        end if it is 0. `campaign` narrows to a campaign, `name` to what it names and what is below,
        `since` (microseconds UTC) to calls at that time or later."""
        query = select(audit.c.id, *columns(audit, codec.AUDIT)).order_by(audit.c.id.desc())
        if before_id:
            query = query.where(audit.c.id < before_id)
        if campaign:
            query = query.where(audit.c.campaign == campaign)
        if name:
            below = f"{name}/"
            start = func.substr(audit.c.name, 1, len(below))
            query = query.where(or_(audit.c.name == name, start == below))
        if who:
            query = query.where(audit.c.who == who)
        if since:
            query = query.where(audit.c.at >= since)
        if refused:
            query = query.where(audit.c.result != "OK")
        async with self._reading() as connection:
            rows = await connection.execute(query.limit(limit))
            return [(row[0], AuditRow(*row[1:])) for row in rows]
