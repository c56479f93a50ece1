"""A campaign read from a file into another database, as history: it is over, and stays so."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.kernel.records import AttemptRow, CampaignFile, PlacementRow, Record
from cmd_daemon.kernel.states import FINAL_CAMPAIGN
from cmd_daemon.store import codec, tables
from cmd_daemon.store.decided import item_of
from cmd_daemon.store.errors import BadUrl
from cmd_daemon.store.portable.form import Damaged, History
from cmd_daemon.store.portable.shifting import Shift
from cmd_daemon.store.store import Store

_ENTITIES: dict[str, Callable[[Any], Any]] = {
    "campaigns": codec.campaign_of,
    "steps": codec.step_of,
    "groups": codec.group_of,
    "jobs": codec.job_of,
}


async def bring_in(store: Store, history: History) -> int:
    """Write a campaign that is over into a database that no daemon works on, behind what is there, in
    one transaction; the events in it.

    Raises BadUrl, with nothing changed: a campaign of that name is there, or this one is not over. Then
    attempts may be outside, and the daemon it comes from drives them: a second one must not.
    Raises Damaged, or another StoreError.
    """
    name = history.campaign
    over = history.state in {str(state) for state in FINAL_CAMPAIGN}
    in_flight = codec.CAMPAIGN.index("in_flight")
    try:
        if not over or history.rows["effects"] or history.rows["campaigns"][0][in_flight]:
            raise BadUrl(
                f"campaign {name!r} is {history.state}: it may have attempts outside, which the daemon it "
                "comes from drives. Only campaigns that are over are imported; `cmd-daemon replay` takes "
                "any. Nothing has changed."
            )
        if await store.taken_names([name]):
            raise BadUrl(f"a campaign {name!r} is in the database already. Nothing has changed.")
        batch = _batch(history, await _behind(store))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Damaged(f"the rows of campaign {name!r} cannot be understood: {error!r}") from error
    await store.commit(batch)
    return len(batch.records)


async def _behind(store: Store) -> Shift:
    """Where ids and sequence numbers go on."""
    async with store.reading() as connection:
        highest = 0
        for table in (tables.campaigns, tables.steps, tables.groups, tables.jobs):
            found = (await connection.execute(select(func.max(table.c.id)))).scalar()
            highest = max(highest, found or 0)
        last = (await connection.execute(select(func.max(tables.events.c.seq)))).scalar()
    return Shift(highest, last or 0)


def _batch(history: History, shift: Shift) -> Batch:
    rows = {table: shift.rows(table, found) for table, found in history.rows.items()}
    batch = Batch(
        files=[CampaignFile(*row) for row in rows["campaign_files"]],
        attempts=[AttemptRow(*row) for row in rows["attempts"]],
        placements=[PlacementRow(*row) for row in rows["placements"]],
        records=[Record(*row) for row in rows["events"]],
    )
    for table, entity_of in _ENTITIES.items():
        for row in rows[table]:
            entity = entity_of(row)
            batch.created[entity.id] = entity
    batch.decided = [item_of(shift.line(line)) for line in history.decided]
    return batch
