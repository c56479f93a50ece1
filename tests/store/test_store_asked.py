"""Which events came with a call: what a daemon with traces reads at its start."""

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.kernel.states import CampaignState
from cmd_daemon.store import Store
from cmd_daemon.testing.store_contract import BASE, NOW, campaign, made, record


async def test_events_of_calls_are_read_but_those_of_archived_campaigns(url: str) -> None:
    store = await Store.open(url, clock=lambda: NOW)
    try:
        await store.commit(made(campaign(), campaign(1, state=CampaignState.ARCHIVED)))
        nobody = {"campaign_id": None, "name": "facilities/USDF", "cause": "FacilityKilled"}
        records = [
            record(1, request_id="the start"),
            record(2),
            record(3, campaign_id=BASE + 1000, request_id="of an archived one"),
            record(4, "facility", **nobody, request_id="the kill"),
            record(5, "schedule", campaign_id=None, request_id="of a schedule"),
            record(6, request_id="the cancel"),
        ]
        await store.commit(Batch(records=records))
        found = await store.asked()
        assert [each.request_id for each in found] == ["the start", "the kill", "the cancel"]
        assert found == [records[0], records[3], records[5]]
    finally:
        await store.close()
