"""Calls about campaigns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cmd_api.v1 import campaign_pb2 as pb

from .call import LONG, Call, change, paged, rpc

PAGE = 1000


def _source(
    text: str | bytes, file: str, parameters: Mapping[str, str] | None
) -> pb.CampaignSource:
    data = text.encode() if isinstance(text, str) else text
    return pb.CampaignSource(text=data, file=file, parameters=parameters)


def _campaigns(page: pb.ListCampaignsResponse) -> Iterable[pb.Campaign]:
    return page.campaigns


class CampaignCalls:
    """The methods of CampaignService."""

    @rpc
    def plan_campaign(
        self,
        text: str | bytes,
        *,
        file: str = "",
        parameters: Mapping[str, str] | None = None,
        max_groups: int = 0,
    ) -> Call[pb.PlanCampaignResponse]:
        """Validate a campaign file (YAML) and show what it would make. Changes nothing.

        `max_groups` is the most groups listed per step, 0 for the daemon's 1000.
        Raises InvalidCampaignFile with every problem.
        """
        request = pb.PlanCampaignRequest(
            source=_source(text, file, parameters), max_groups=max_groups
        )
        return Call("CampaignService/PlanCampaign", request, pb.PlanCampaignResponse, length=LONG)

    @rpc
    def apply_campaign(
        self,
        text: str | bytes,
        *,
        file: str = "",
        parameters: Mapping[str, str] | None = None,
        start: bool = False,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.ApplyCampaignResponse]:
        """Store a campaign file: a new campaign, or a new version of one that is there.

        With `start` a campaign in DRAFT starts in the same commit. Raises InvalidCampaignFile,
        StateRefused, EtagMismatch.
        """
        request = pb.ApplyCampaignRequest(
            source=_source(text, file, parameters), start=start, reason=reason, etag=etag
        )
        return change(
            "CampaignService/ApplyCampaign",
            request,
            pb.ApplyCampaignResponse,
            request_id,
            length=LONG,
        )

    @rpc
    def get_campaign(self, name: str) -> Call[pb.Campaign]:
        """One campaign with its counts. Raises NotFound."""
        return Call("CampaignService/GetCampaign", pb.GetCampaignRequest(name=name), pb.Campaign)

    @paged(_campaigns)
    def campaigns(
        self,
        *,
        states: Iterable[pb.Campaign.State.ValueType] = (),
        owner: str = "",
        show_archived: bool = False,
        page_size: int = PAGE,
    ) -> Call[pb.ListCampaignsResponse]:
        """All campaigns, oldest first; those in one of `states` if any are given."""
        request = pb.ListCampaignsRequest(
            page_size=page_size, states=states, owner=owner, show_archived=show_archived
        )
        return Call("CampaignService/ListCampaigns", request, pb.ListCampaignsResponse)

    @rpc
    def list_campaigns(
        self,
        *,
        page_size: int = 0,
        page_token: str = "",
        states: Iterable[pb.Campaign.State.ValueType] = (),
        owner: str = "",
        show_archived: bool = False,
    ) -> Call[pb.ListCampaignsResponse]:
        """One page of campaigns."""
        request = pb.ListCampaignsRequest(
            page_size=page_size,
            page_token=page_token,
            states=states,
            owner=owner,
            show_archived=show_archived,
        )
        return Call("CampaignService/ListCampaigns", request, pb.ListCampaignsResponse)

    @rpc
    def get_campaign_file(self, name: str, *, version: int = 0) -> Call[pb.CampaignFile]:
        """One version of a campaign's file, 0 for the newest. Raises NotFound."""
        request = pb.GetCampaignFileRequest(name=name, version=version)
        return Call("CampaignService/GetCampaignFile", request, pb.CampaignFile)

    @rpc
    def get_campaign_schema(self) -> Call[pb.GetCampaignSchemaResponse]:
        """The JSON Schema of the campaign file, as JSON text."""
        request = pb.GetCampaignSchemaRequest()
        return Call("CampaignService/GetCampaignSchema", request, pb.GetCampaignSchemaResponse)

    @rpc
    def start_campaign(
        self,
        name: str,
        *,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Campaign]:
        """Start a campaign in DRAFT. Raises NotFound, StateRefused, EtagMismatch."""
        request = pb.StartCampaignRequest(name=name, reason=reason, etag=etag)
        return change("CampaignService/StartCampaign", request, pb.Campaign, request_id)

    @rpc
    def pause_campaign(
        self,
        name: str,
        *,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Campaign]:
        """Submit nothing new, and pause what is outside where that can be done; the rest ends by itself.

        Raises NotFound, StateRefused, EtagMismatch.
        """
        request = pb.PauseCampaignRequest(name=name, reason=reason, etag=etag)
        return change("CampaignService/PauseCampaign", request, pb.Campaign, request_id)

    @rpc
    def resume_campaign(
        self,
        name: str,
        *,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Campaign]:
        """Take a pause back. Raises NotFound, StateRefused, EtagMismatch."""
        request = pb.ResumeCampaignRequest(name=name, reason=reason, etag=etag)
        return change("CampaignService/ResumeCampaign", request, pb.Campaign, request_id)

    @rpc
    def cancel_campaign(
        self,
        name: str,
        *,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Campaign]:
        """Cancel the campaign and its outside work.

        Raises NotFound, StateRefused, EtagMismatch.
        """
        request = pb.CancelCampaignRequest(name=name, reason=reason, etag=etag)
        return change("CampaignService/CancelCampaign", request, pb.Campaign, request_id)

    @rpc
    def archive_campaign(
        self,
        name: str,
        *,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Campaign]:
        """Put a final campaign away. Raises NotFound, StateRefused, EtagMismatch."""
        request = pb.ArchiveCampaignRequest(name=name, reason=reason, etag=etag)
        return change("CampaignService/ArchiveCampaign", request, pb.Campaign, request_id)
