"""PlanCampaign and ApplyCampaign."""

import grpc
import pytest
from api_house import House, campaign_file

from cm_client import InvalidCampaignFile, StateRefused


async def test_plan_changes_nothing(full: House) -> None:
    before = await full.client.get_daemon()
    plan = await full.client.plan_campaign(campaign_file("other", 7))
    assert (plan.campaign, plan.group_count) == ("other", 8)
    assert [step.step for step in plan.steps] == ["one", "look", "two"]
    after = await full.client.get_daemon()
    assert after.last_seq == before.last_seq
    assert [c.name for c in (await full.client.list_campaigns()).campaigns] == ["campaigns/camp"]


async def test_a_bad_file_brings_all_its_problems(house: House) -> None:
    text = campaign_file().replace("facilities: [USDF]", "facilities: [USDG]\nowners: x")
    text = text.replace("after: [look]", "after: [lock]")
    for call in (house.client.plan_campaign, house.client.apply_campaign):
        with pytest.raises(InvalidCampaignFile) as told:
            await call(text, file="c.yaml")
        problems = told.value.problems
        assert len(problems) >= 3
        assert all(p.file == "c.yaml" and p.line for p in problems)
        assert any("USDF" in p.hint or "USDF" in p.message for p in problems)
    assert not (await house.client.list_campaigns()).campaigns


async def test_hundreds_of_problems_still_arrive(house: House) -> None:
    wrong = "\n".join(f"  s{n}: {{pipelin: x, after: [nobody{n}]}}" for n in range(300))
    with pytest.raises(InvalidCampaignFile) as told:
        await house.client.plan_campaign(campaign_file() + wrong)
    assert len(told.value.problems) == 100


async def test_apply_again_changed_and_refused(full: House) -> None:
    client = full.client
    same = await client.apply_campaign(campaign_file())
    assert not same.created
    assert not same.changes
    assert same.campaign.file_version == 1
    changed = campaign_file().replace("x.yaml#b", "x.yaml#c")
    told = await client.apply_campaign(changed)
    assert told.campaign.file_version == 2
    assert any("two" in c.field for c in told.changes)
    stored = await client.get_campaign_file("campaigns/camp")
    assert (stored.version, stored.text) == (2, changed)
    # What has begun cannot be split otherwise any more.
    with pytest.raises(InvalidCampaignFile, match="one"):
        await client.apply_campaign(changed.replace('"1..3"', '"1..4"'))
    assert (await client.get_campaign("campaigns/camp")).file_version == 2
    await client.sign_step("campaigns/camp/steps/look", reason="fine")
    await full.reach("campaigns/camp", "ACCEPTED")
    with pytest.raises(StateRefused) as refused:
        await client.apply_campaign(changed.replace("x.yaml#c", "x.yaml#d"))
    assert refused.value.code == grpc.StatusCode.FAILED_PRECONDITION


async def test_start_flag(house: House) -> None:
    created = await house.client.apply_campaign(campaign_file())
    assert created.created
    assert await house.state("campaigns/camp") == "DRAFT"
    await house.client.apply_campaign(campaign_file(), start=True)
    await house.reach("campaigns/camp/steps/look", "REVIEW")
    again = await house.client.apply_campaign(campaign_file(), start=True)
    assert not again.changes


async def test_why_for_everything_that_is_open(full: House) -> None:
    told = await full.client.explain_entity("campaigns/camp/steps/look")
    assert told.state == "REVIEW"
    assert any("cm sign" in action for action in told.actions)
    for name in full.one_of_each().values():
        if name.startswith("campaigns/"):
            assert (await full.client.explain_entity(name)).summary
