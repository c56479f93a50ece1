"""Campaign files on their way into the engine: what the plugins say of them, and the event they make."""

import json
from collections.abc import Mapping, Sequence

from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.hooks.ports import FacilityInfo
from cmd_daemon.hooks.review import CampaignReview
from cmd_daemon.kernel import events as ev
from cmd_daemon.spec import CampaignFileError, CampaignPlan, Change, Known, Problem


def known_to(plugins: Plugins, facilities: Mapping[str, FacilityInfo]) -> Known:
    """What campaign files are checked against in this daemon."""
    return Known(
        facilities=facilities,
        splitters=plugins.splitters,
        algorithms=frozenset(plugins.selectors),
        drivers=frozenset(plugins.drivers),
        kinds=frozenset(kind for info in facilities.values() for kind in info.drivers),
    )


def reviewed(plugins: Plugins, plan: CampaignPlan) -> CampaignPlan:
    """The plan itself, if no plugin objects. Raises CampaignFileError with what they all say."""
    review = CampaignReview(plan.name, plan.owner, plan.facilities, plan.steps, plan.parameters)
    if found := plugins.validate_campaign(review):
        raise CampaignFileError(
            Problem(file=plan.file, line=0, column=0, field=field, message=words, hint="")
            for field, words in found
        )
    return plan


def applied(
    plan: CampaignPlan,
    campaign_id: int | None = None,
    listed: Sequence[Change] = (),
    *,
    start: bool,
    actor: str,
    reason: str,
    request_id: str = "",
) -> ev.CampaignApplied:
    """The event of a plan: a new campaign, or a new version of the one with this id, which differs
    in what is `listed`."""
    shown = [{"field": c.field, "old": c.old, "new": c.new} for c in listed]
    return ev.CampaignApplied(
        campaign_id=campaign_id,
        name=plan.name,
        owner=plan.owner,
        ticket=plan.ticket or "",
        text=plan.text,
        parameters=json.dumps(dict(plan.parameters)),
        digest=plan.digest,
        steps=plan.steps,
        changes=json.dumps(shown) if shown else None,
        start=start,
        actor=actor,
        reason=reason,
        request_id=request_id,
    )
