"""What this plugin brings: the placement algorithms, and the check of a campaign's pins."""

from collections.abc import Iterable

from cmd_daemon.hooks import CampaignReview, Selector, hookimpl
from cmd_facility.pins import read_pin
from cmd_facility.selector import FacilitySelector, read_parameters

CMD_API_VERSION = 1


@hookimpl
def cmd_register_selectors() -> Iterable[Selector]:
    """One selector for `pinned`, `share`, `locality` and `balanced`."""
    return [FacilitySelector()]


@hookimpl
def cmd_validate_campaign(*, campaign: CampaignReview) -> Iterable[tuple[str, str]]:
    """Pins and parameters that cannot be read, and `pinned` where there is a choice but no pin; each
    once."""
    problems: dict[str, str] = {}
    for policy in campaign.steps.values():
        plan = policy.placement
        if plan.algorithm == "pinned" and len(plan.facilities) > 1 and not (plan.pins or plan.at):
            problems["placement.algorithm"] = (
                "'pinned' needs pins where there is more than one facility; "
                "add pins: {FACILITY: tract IN (...)} or choose share, locality or balanced"
            )
        if plan.algorithm in FacilitySelector.algorithms:
            try:
                read_parameters(plan.params)
            except ValueError as error:
                problems["placement.params"] = str(error)
        for facility, text in policy.placement.pins.items():
            try:
                read_pin(text)
            except ValueError as error:
                problems[f"placement.pins.{facility}"] = str(error)
    return list(problems.items())
