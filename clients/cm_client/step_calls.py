"""Calls about steps."""

from __future__ import annotations

from cmd_api.v1 import step_pb2 as pb

from .call import LONG, Call, change, rpc


class StepCalls:
    """The methods of StepService."""

    @rpc
    def get_step(self, name: str) -> Call[pb.Step]:
        """One step with its counts. Raises NotFound."""
        return Call("StepService/GetStep", pb.GetStepRequest(name=name), pb.Step)

    @rpc
    def list_steps(self, parent: str) -> Call[pb.ListStepsResponse]:
        """All steps of a campaign, in the order of its file. Raises NotFound."""
        request = pb.ListStepsRequest(parent=parent)
        return Call("StepService/ListSteps", request, pb.ListStepsResponse)

    @rpc
    def sign_step(
        self,
        name: str,
        *,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Step]:
        """Sign a breakpoint. Raises NotFound, StateRefused, EtagMismatch."""
        request = pb.SignStepRequest(name=name, reason=reason, etag=etag)
        return change("StepService/SignStep", request, pb.Step, request_id)

    @rpc
    def release_step(
        self,
        name: str,
        *,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Step]:
        """Try a held step again. Raises NotFound, StateRefused, EtagMismatch."""
        request = pb.ReleaseStepRequest(name=name, reason=reason, etag=etag)
        return change("StepService/ReleaseStep", request, pb.Step, request_id)

    @rpc
    def get_nexus(self, name: str) -> Call[pb.Nexus]:
        """The nexus log of a step or of one group: datasets made, sent, arrived, ingested.

        For a step each entry sums over its groups (`group` is the step's name); beside them the groups
        with gaps have entries of their own, those that are HELD first. Raises NotFound.
        """
        request = pb.GetNexusRequest(name=name)
        return Call("StepService/GetNexus", request, pb.Nexus, length=LONG)  # sums 10^5 groups
