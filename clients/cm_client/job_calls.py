"""Calls about jobs, their attempts, parts and logs."""

from __future__ import annotations

from collections.abc import Iterable

from cmd_api.v1 import job_pb2 as pb

from .call import Call, Resumable, change, paged, rpc, streamed
from .streams import LogStream, OnLost

PAGE = 1000


def _jobs(page: pb.ListJobsResponse) -> Iterable[pb.Job]:
    return page.jobs


class JobCalls:
    """The methods of JobService."""

    @rpc
    def get_job(self, name: str) -> Call[pb.Job]:
        """One job. Raises NotFound."""
        return Call("JobService/GetJob", pb.GetJobRequest(name=name), pb.Job)

    @paged(_jobs)
    def jobs(
        self,
        parent: str,
        *,
        states: Iterable[pb.Job.State.ValueType] = (),
        facility: str = "",
        kind: str = "",
        page_size: int = PAGE,
    ) -> Call[pb.ListJobsResponse]:
        """All jobs of a campaign, a step or a group, in the order they were made.

        Raises NotFound.
        """
        request = pb.ListJobsRequest(
            parent=parent, page_size=page_size, states=states, facility=facility, kind=kind
        )
        return Call("JobService/ListJobs", request, pb.ListJobsResponse)

    @rpc
    def list_jobs(
        self,
        parent: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        states: Iterable[pb.Job.State.ValueType] = (),
        facility: str = "",
        kind: str = "",
    ) -> Call[pb.ListJobsResponse]:
        """One page of jobs. Raises NotFound."""
        request = pb.ListJobsRequest(
            parent=parent,
            page_size=page_size,
            page_token=page_token,
            states=states,
            facility=facility,
            kind=kind,
        )
        return Call("JobService/ListJobs", request, pb.ListJobsResponse)

    @rpc
    def list_attempts(self, parent: str) -> Call[pb.ListAttemptsResponse]:
        """The attempts of a job, oldest first. Raises NotFound."""
        request = pb.ListAttemptsRequest(parent=parent)
        return Call("JobService/ListAttempts", request, pb.ListAttemptsResponse)

    @rpc
    def list_parts(self, parent: str, *, attempt: int = 0) -> Call[pb.ListPartsResponse]:
        """The parts of an attempt of a job, 0 for the newest. Raises NotFound."""
        request = pb.ListPartsRequest(parent=parent, attempt=attempt)
        return Call("JobService/ListParts", request, pb.ListPartsResponse)

    @rpc
    def control_job(
        self,
        name: str,
        *,
        paused: bool | None = None,
        priority: int | None = None,
        memory: int | None = None,
        queue: str | None = None,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Job]:
        """Command the attempt of a job, or of the job a group is at, while it is outside.

        `paused` False lets it go on; `memory` in bytes; None leaves things as they are. Raises NotFound,
        StateRefused, EtagMismatch, InvalidArgument.
        """
        request = pb.ControlJobRequest(
            name=name,
            paused=paused,
            priority=priority,
            memory=memory,
            queue=queue,
            reason=reason,
            etag=etag,
        )
        return change("JobService/ControlJob", request, pb.Job, request_id)

    @streamed
    def read_log(
        self,
        name: str,
        *,
        attempt: int = 0,
        part: str = "",
        offset: int = 0,
        follow: bool = False,
        idle: float | None = None,
        on_lost: OnLost | None = None,
    ) -> tuple[Resumable[pb.ReadLogResponse], float | None]:
        """The bytes of a log of a job; a negative offset counts from the end.

        With `follow` the iterator ends when the attempt does, and goes on by itself after a lost
        connection. With `idle`, an empty message comes when nothing came for so many seconds.
        `on_lost(error, wait)` is called before each attempt to go on. Raises NotFound.
        """
        return LogStream(name, attempt, part, offset, follow, on_lost), idle
