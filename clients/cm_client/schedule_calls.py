"""Calls about schedules."""

from __future__ import annotations

from cmd_api.v1 import schedule_pb2 as pb

from .call import LONG, Call, change, rpc


class ScheduleCalls:
    """The methods of ScheduleService."""

    @rpc
    def apply_schedule(
        self,
        text: str,
        template: str,
        *,
        file: str = "",
        reason: str = "",
        etag: str = "",
        dry_run: bool = False,
        request_id: str | None = None,
    ) -> Call[pb.ApplyScheduleResponse]:
        """Store a schedule file with the text of its template, or with `dry_run` only check both.

        Raises InvalidCampaignFile with every problem and its line, EtagMismatch.
        """
        request = pb.ApplyScheduleRequest(
            text=text, template=template, file=file, reason=reason, etag=etag, dry_run=dry_run
        )
        return change(
            "ScheduleService/ApplySchedule",
            request,
            pb.ApplyScheduleResponse,
            request_id,
            length=LONG,
        )

    @rpc
    def get_schedule(self, name: str, *, max_runs: int = 0) -> Call[pb.Schedule]:
        """One schedule with its next times and its last runs. Raises NotFound."""
        request = pb.GetScheduleRequest(name=name, max_runs=max_runs)
        return Call("ScheduleService/GetSchedule", request, pb.Schedule)

    @rpc
    def list_schedules(self) -> Call[pb.ListSchedulesResponse]:
        """All schedules that were not removed."""
        request = pb.ListSchedulesRequest()
        return Call("ScheduleService/ListSchedules", request, pb.ListSchedulesResponse)

    @rpc
    def pause_schedule(
        self, name: str, *, reason: str = "", request_id: str | None = None
    ) -> Call[pb.Schedule]:
        """Launch nothing until it is resumed. Raises NotFound, StateRefused."""
        request = pb.PauseScheduleRequest(name=name, reason=reason)
        return change("ScheduleService/PauseSchedule", request, pb.Schedule, request_id)

    @rpc
    def resume_schedule(
        self, name: str, *, reason: str = "", request_id: str | None = None
    ) -> Call[pb.Schedule]:
        """Take a pause back. Raises NotFound, StateRefused."""
        request = pb.ResumeScheduleRequest(name=name, reason=reason)
        return change("ScheduleService/ResumeSchedule", request, pb.Schedule, request_id)

    @rpc
    def run_schedule(
        self, name: str, *, reason: str = "", request_id: str | None = None
    ) -> Call[pb.Schedule]:
        """Launch it once, now. Raises NotFound, StateRefused."""
        request = pb.RunScheduleRequest(name=name, reason=reason)
        return change("ScheduleService/RunSchedule", request, pb.Schedule, request_id, length=LONG)

    @rpc
    def remove_schedule(
        self, name: str, *, reason: str = "", request_id: str | None = None
    ) -> Call[pb.Schedule]:
        """Launch nothing any more. Raises NotFound, StateRefused."""
        request = pb.RemoveScheduleRequest(name=name, reason=reason)
        return change("ScheduleService/RemoveSchedule", request, pb.Schedule, request_id)
