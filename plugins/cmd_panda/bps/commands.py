"""Commands to iDDS requests: asked for one at a time for each request, and done when it shows them.

iDDS passes a command on to PanDA, where a second one overwrites the first and begins to wait anew. So what
is under way is not asked for again, and nothing else is asked for before it is to be seen.
"""

from dataclasses import dataclass

from cmd_daemon.hooks import Command, Control, ControlAnswer, ErrorClass
from cmd_panda.bps.states import REQUEST_HELD, REQUEST_OVER
from cmd_panda.commands import AGAIN_US
from cmd_panda.faults import Kind, PandaFault
from cmd_panda.work import Place

VERBS = {Command.PAUSE: "suspend", Command.RESUME: "resume"}
UNDER_WAY = {
    Command.PAUSE: frozenset({"ToSuspend", "Suspending"}),
    Command.RESUME: frozenset({"ToResume", "Resuming"}),
}


@dataclass(frozen=True, slots=True)
class _Asked:
    command: Command
    at: int


def _is_so(command: Command, state: str) -> bool:
    if command is Command.PAUSE:
        return state == "Suspended"
    return state not in REQUEST_HELD | UNDER_WAY[Command.RESUME]


class RequestCommands:
    """The commands of one facility to its requests that are not to be seen yet, by request."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._asked: dict[int, _Asked] = {}

    def forget(self, request: int) -> None:
        """The request is over."""
        self._asked.pop(request, None)

    async def carry_out(self, control: Control, request: int) -> ControlAnswer:
        """Look how the request is, and ask for what is not so yet."""
        try:
            told = await self._place.shared().server.requests(request, detail=False)
            state = told[0].status if told else ""
            return await self._carry_out(control, request, state)
        except PandaFault as fault:
            error_class = ErrorClass.PERMANENT if fault.kind is Kind.ROLE else ErrorClass.TRANSIENT
            return ControlAnswer(control.key, False, error_class, str(fault))

    async def _carry_out(self, control: Control, request: int, state: str) -> ControlAnswer:
        if state in REQUEST_OVER:
            self.forget(request)
            return ControlAnswer(control.key, True, message=f"request {request} is {state}")
        now = self._place.host.now()
        asked = self._asked.get(request)
        if asked is not None and (_is_so(asked.command, state) or now - asked.at >= AGAIN_US):
            asked = None
        if asked is not None and asked.command is not control.command:
            words = f"request {request} was asked to {VERBS[asked.command]} before, and is {state}"
            return ControlAnswer(control.key, False, ErrorClass.NOT_YET, f"{words} at iDDS")
        if _is_so(control.command, state):
            self.forget(request)
            return ControlAnswer(control.key, True)
        if asked is None:
            # Noted before it is sent: one whose answer is lost may be carried out all the same.
            first = request not in self._asked
            self._asked[request] = _Asked(control.command, now)
            if not (first and state in UNDER_WAY[control.command]):
                await self._place.shared().server.command_request(VERBS[control.command], request)
        words = f"request {request} was asked to {VERBS[control.command]}, and is {state} at iDDS"
        return ControlAnswer(control.key, False, ErrorClass.NOT_YET, words)
