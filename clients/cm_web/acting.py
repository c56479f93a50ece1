"""Actions: the page that asks for confirmation, and what is done when it is confirmed.

Everything that is done carries the etag of what was shown, so that nobody decides about something that
has changed meanwhile, and a request id made with the form, so that a form that is sent twice is done once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import uuid4

from cmd_api.v1.group_pb2 import (
    RETRY_MODE_FROM_START,
    RETRY_MODE_MISSING_ONLY,
    RETRY_MODE_UNSPECIFIED,
    Group,
)
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cm_client import CmError, DaemonUnavailable, parse_name, short_name
from cm_client.redriving import redrive

from .actions import GRAVE, MODES, NEEDS_REASON, VERBS, Action
from .desk import Desk, Page
from .effects import Effect, effect_of
from .guard import TOKEN, form_token, is_token

MANY = 1000
"""Entities that one confirmation acts on at most."""

AT_ONCE = 8
LISTED = 20

_STATES = frozenset(Group.State.keys())
_MODES = {"missing-only": RETRY_MODE_MISSING_ONLY, "from-start": RETRY_MODE_FROM_START}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done: a verb, and the resource names it is to be done to."""

    verb: str
    names: list[str]
    mode: str = ""

    @property
    def action(self) -> Action:
        """With the first of them."""
        return Action(self.verb, self.names[0], self.mode)

    @property
    def back(self) -> str:
        """Where to go afterwards: to the entity, or to what is above several."""
        if len(self.names) == 1:
            return f"/{self.names[0]}"
        return "/" + "/".join(self.names[0].split("/")[:-2])


@dataclass(frozen=True, slots=True)
class Refused:
    """One entity that was left as it is, and why, in the daemon's words."""

    name: str
    message: str


async def wish_of(desk: Desk, verb: str, given: QueryParams) -> Wish:
    """The wish of a query or a form: its `name`s, or all groups of a `step` in a `state`.

    Raises HTTPException for what cannot be wished for, CmError if the groups cannot be listed.
    """
    mode = str(given.get("mode", ""))
    if verb not in VERBS or mode not in MODES:
        raise HTTPException(404, f"There is no action {verb} {mode}".rstrip() + ".")
    names = [_full(str(name)) for name in given.getlist("name")]
    if not names and given.get("step"):
        names = await _all_groups(desk, given)
    if not names:
        raise HTTPException(400, "Choose what it is to be done to: nothing was ticked.")
    if len(names) > MANY:
        raise HTTPException(400, f"At most {MANY} at once, not {len(names)}.")
    return Wish(verb, list(dict.fromkeys(names)), mode)


def _full(name: str) -> str:
    if name.startswith("facilities/"):
        return name
    try:
        parsed = parse_name(name)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    # Of a job nothing is decided; its group is meant.
    return parsed.parent.full if parsed.level == "job" else parsed.full


async def _all_groups(desk: Desk, given: QueryParams) -> list[str]:
    word = str(given.get("state", ""))
    if f"STATE_{word}" not in _STATES:
        raise HTTPException(400, f"{word} is no state of a group.")
    found = []
    async for group in desk.client.groups(
        str(given["step"]),
        states=[Group.State.Value(f"STATE_{word}")],
        facility=str(given.get("facility", "")),
    ):
        found.append(group.name)
        if len(found) > MANY:
            break
    return found


async def ask(desk: Desk, request: Request) -> Page:
    """The page that shows what will be affected, and asks for a reason."""
    wish = await wish_of(desk, request.path_params["verb"], request.query_params)
    effect = await effect_of(desk, wish.verb, wish.names, wish.mode)
    return _asking(desk, wish, effect)


def _asking(
    desk: Desk, wish: Wish, effect: Effect, reason: str = "", refused: list[Refused] | None = None
) -> Page:
    return Page(
        "act.html",
        wish.action.label,
        {
            "wish": wish,
            "label": wish.action.label,
            "effect": effect,
            "names": wish.names[:LISTED],
            "more": max(0, len(wish.names) - LISTED),
            "grave": wish.verb in GRAVE,
            "needs_reason": wish.verb in NEEDS_REASON,
            "token": form_token(desk.key),
            "request_id": uuid4().hex,
            "reason": reason,
            "refused": refused or [],
        },
    )


async def act(desk: Desk, request: Request) -> Page | Response:
    """Do what was confirmed: to the entity's page, or back to the question with the refusals."""
    form = QueryParams(await request.body())
    if not is_token(desk.key, str(form.get(TOKEN, ""))):
        raise HTTPException(403, "This form is not of this dashboard, or of a former key of it.")
    wish = await wish_of(desk, request.path_params["verb"], form)
    reason = str(form.get("reason", "")).strip()
    refused = await _do_all(desk, wish, form, reason)
    if not refused:
        return RedirectResponse(wish.back, 303)
    left = Wish(wish.verb, [each.name for each in refused], wish.mode)
    effect = await effect_of(desk, left.verb, left.names, left.mode)
    return _asking(desk, left, effect, reason, refused)


async def _do_all(desk: Desk, wish: Wish, form: QueryParams, reason: str) -> list[Refused]:
    """Do it to each; a refusal of one does not keep the others from it, a lost daemon does."""
    request_id = str(form.get("request_id", "")) or uuid4().hex
    facility = str(form.get("facility", ""))
    etags = dict(pair.partition("=")[::2] for pair in map(str, form.getlist("etag")) if "=" in pair)
    gate = asyncio.Semaphore(AT_ONCE)
    refused: list[Refused] = []

    async def one(name: str) -> None:
        async with gate:
            try:
                message = await _do(
                    desk,
                    Action(wish.verb, name, wish.mode),
                    reason,
                    etags.get(name, ""),
                    f"{request_id}:{short_name(name)}"[:200],
                    facility,
                )
            except DaemonUnavailable:
                raise
            except CmError as error:
                message = error.message
            if message:
                refused.append(Refused(name, message))

    await asyncio.gather(*map(one, wish.names))
    return sorted(refused, key=lambda each: wish.names.index(each.name))


async def _do(
    desk: Desk, action: Action, reason: str, etag: str, request_id: str, facility: str
) -> str:
    """Do one thing; words if it was not done. Raises CmError."""
    cm, name = desk.client, action.name
    told = {"reason": reason, "request_id": request_id}
    match action.verb:
        case "start" | "pause" | "resume" | "cancel" | "archive":
            await getattr(cm, f"{action.verb}_campaign")(name, etag=etag, **told)
        case "sign":
            await cm.sign_step(name, etag=etag, **told)
        case "release" if "/groups/" not in name:
            await cm.release_step(name, etag=etag, **told)
        case "retry":
            mode = _MODES.get(action.mode, RETRY_MODE_UNSPECIFIED)
            await cm.retry_group(name, mode=mode, etag=etag, **told)
        case "accept" | "reject" | "hold" | "release":
            await getattr(cm, f"{action.verb}_group")(name, etag=etag, **told)
        case "move":
            await cm.move_group(name, facility, reason=reason, etag=etag, request_id=request_id)
        case "drain" | "undrain" | "kill":
            await getattr(cm, f"{action.verb}_facility")(name, **told)
        case "revive":
            await cm.revive_facility(
                name, reason=reason, request_id=request_id, retry=action.mode == "retry"
            )
        case "redrive":
            return await _redrive(desk, name, reason)
    return ""


async def _redrive(desk: Desk, name: str, reason: str) -> str:
    found = await asyncio.to_thread(redrive, desk.blocking, parse_name(name), reason)
    if any(each.done for each in found):
        return ""
    return "\n".join(f"{each.group}: {each.words}" for each in found) or "There are no gaps."
