"""StepService."""

from cmd_api.v1 import step_pb2 as pb
from cmd_api.v1 import step_pb2_grpc
from cmd_daemon.api import names
from cmd_daemon.api.nexus import LISTED_GROUPS, nexus_messages
from cmd_daemon.api.service import Context, Room, actor_of, check_command, check_etag
from cmd_daemon.api.shapes import step_etag, step_message
from cmd_daemon.kernel import events as ev


class StepService(step_pb2_grpc.StepServiceServicer):
    """Look at steps, sign breakpoints, release held ones."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def GetStep(self, request: pb.GetStepRequest, context: Context) -> pb.Step:
        return step_message(await self._room.step(request.name))

    async def ListSteps(
        self, request: pb.ListStepsRequest, context: Context
    ) -> pb.ListStepsResponse:
        row = await self._room.campaign(request.parent)
        steps = await self._room.reader.list_steps(row.campaign.name)
        return pb.ListStepsResponse(steps=[step_message(each) for each in steps])

    async def GetNexus(self, request: pb.GetNexusRequest, context: Context) -> pb.Nexus:
        path = names.parse(request.name, 2, 3)
        reader = self._room.reader
        if path.depth == 3:
            row = await self._room.group(request.name)
            found = list(await reader.nexus_of_group(row.group.id))
        else:
            step = (await self._room.step(request.name)).step
            found = list(await reader.nexus_of_step(step.id))
            if any(each.missing for each in found):
                found += await reader.nexus_gaps(step.id, LISTED_GROUPS)
        step_name = str(names.Path(path.campaign, path.step))
        entries = nexus_messages(step_name, found, self._room.facilities)
        return pb.Nexus(name=request.name, entries=entries)

    async def SignStep(self, request: pb.SignStepRequest, context: Context) -> pb.Step:
        return await self._command(request, context, ev.StepSigned, "Sign", needs_reason=True)

    async def ReleaseStep(self, request: pb.ReleaseStepRequest, context: Context) -> pb.Step:
        return await self._command(request, context, ev.StepReleased, "ReleaseStep")

    async def _command(
        self,
        request: pb.SignStepRequest | pb.ReleaseStepRequest,
        context: Context,
        event: type[ev.StepEvent],
        method: str,
        needs_reason: bool = False,
    ) -> pb.Step:
        check_command(request, needs_reason)
        row = await self._room.step(request.name)
        if not await self._room.repeated(request, method):
            check_etag(request.etag, step_etag(row.step), request.name)
            await self._room.ask(
                event(
                    step_id=row.step.id,
                    actor=actor_of(context),
                    reason=request.reason,
                    request_id=request.request_id,
                ),
                request,
                method,
            )
        return step_message(await self._room.step(request.name))
