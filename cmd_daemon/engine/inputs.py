"""Where the inputs of groups are: one question to a locator for a whole set of groups. The locator that
was loaded last is asked first; of groups that it leaves out, or if it fails, the one before it."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from cmd_daemon.engine.answers import MOST, Nonsense, words
from cmd_daemon.engine.containment import contained
from cmd_daemon.hooks.facilities import InputLocator, InputsHeld, InputsRequest
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.hooks.placement import Held
from cmd_daemon.hooks.ports import Host
from cmd_daemon.kernel.entities import Group
from cmd_daemon.kernel.view import View
from cmd_daemon.spec.queries import joined

log = structlog.get_logger()

LOCATE_S = 60.0
"""Seconds that locators may take for a set of groups, all together."""


@dataclass(frozen=True, slots=True)
class Located:
    """What is known of one group's inputs. `held` says what each facility has. `total` is the
    most that any single facility holds, files and bytes each for itself: nobody knows the union, and
    inputs that no facility has in full look smaller than they are. None: not known, and `problem`
    says why. `told`: a locator spoke of the group, whether it knew anything or not."""

    held: Mapping[str, Held] = field(default_factory=dict)
    total: Held | None = None
    problem: str = ""
    told: bool = False


UNTOLD = Located(problem="the step does not say which inputs count (placement.inputs)")


class Inputs:
    """Asks the locators. A failure never stops a placement: the inputs are then not known."""

    def __init__(self, view: View, plugins: Plugins, host: Host) -> None:
        self._view = view
        self._plugins = plugins
        self._host = host

    async def locate(
        self, groups: Sequence[Group], facilities: Sequence[str], seconds: float | None = None
    ) -> dict[int, Located]:
        """What each facility holds of these groups' inputs, by group id; groups whose step names no
        inputs are left out."""
        asked = {
            self._name(group): group
            for group in groups
            if self._view.steps[group.step_id].policy.placement.inputs
        }
        if not asked:
            return {}
        requests = [self._request(name, group) for name, group in asked.items()]
        found = await self.ask(requests, facilities, seconds)
        return {group.id: found[name] for name, group in asked.items()}

    async def ask(
        self,
        requests: Sequence[InputsRequest],
        facilities: Sequence[str],
        seconds: float | None = None,
    ) -> dict[str, Located]:
        """What each facility holds of these inputs, by the requests' groups."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (LOCATE_S if seconds is None else seconds)
        problem = "no plugin can say where inputs are"
        found = {each.group: Located(problem=problem) for each in requests}
        left = list(requests)
        locators = list(self._plugins.locators.values())
        while locators and left:
            # One that hangs leaves time for those after it.
            share = max(end - loop.time(), 0.0) / len(locators)
            told = await self._ask_one(locators.pop(), left, facilities, share)
            found |= told
            left = [each for each in left if not told[each.group].told]
        return found

    async def _ask_one(
        self,
        locator: InputLocator,
        requests: Sequence[InputsRequest],
        facilities: Sequence[str],
        seconds: float,
    ) -> dict[str, Located]:
        try:
            call = locator.locate(requests, facilities, self._host)
            answers = [_checked(each) for each in await contained(call, seconds)]
        except TimeoutError:
            problem = f"locator {locator.name} did not answer in {seconds:.0f} s"
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            problem = words(f"locator {locator.name} failed: {str(error) or type(error).__name__}")
        else:
            return _sorted(requests, answers)
        log.warning("inputs could not be located", groups=len(requests), problem=problem)
        return {each.group: Located(problem=problem) for each in requests}

    def _name(self, group: Group) -> str:
        return self._view.group_name(group)

    def _request(self, name: str, group: Group) -> InputsRequest:
        policy = self._view.steps[group.step_id].policy
        return InputsRequest(
            group=name,
            butler=policy.butler,
            collections=policy.inputs,
            datasets=policy.placement.inputs,
            where=joined(policy.where, str(json.loads(group.share).get("where") or "")),
        )


def _sorted(requests: Sequence[InputsRequest], answers: Sequence[InputsHeld]) -> dict[str, Located]:
    unsaid = Located(problem="the locator said nothing of this group")
    found = {each.group: unsaid for each in requests}
    silent: dict[str, str] = {}
    for answer in answers:
        if answer.group not in found:
            continue
        silent |= answer.unknown
        problem = "; ".join(f"{name}: {why}" for name, why in sorted(answer.unknown.items()))
        held = answer.held.values()
        total = Held(
            max((each.files for each in held), default=0),
            max((each.bytes for each in held), default=0),
        )
        known = bool(total.files or not answer.unknown)
        found[answer.group] = Located(answer.held, total if known else None, problem, told=True)
    for name, why in silent.items():
        log.warning("a facility could not say which inputs it holds", facility=name, why=why)
    return found


def _checked(given: object) -> InputsHeld:
    """An answer fit to be decided on. Raises Nonsense."""
    if not isinstance(given, InputsHeld):
        raise Nonsense(f"it answered {given!r:.200}")
    return InputsHeld(
        words(given.group),
        {words(name): _held(held) for name, held in given.held.items()},
        {words(name): words(why) for name, why in given.unknown.items()},
    )


def _held(given: object) -> Held:
    if not isinstance(given, Held):
        raise Nonsense(f"what a facility holds is {given!r:.200}")
    for number in (given.files, given.bytes):
        if not isinstance(number, int) or not 0 <= number <= MOST:
            raise Nonsense(f"a count is {number!r:.200}")
    return given
