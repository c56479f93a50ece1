"""Calls about Data Facilities and about the daemon itself."""

from __future__ import annotations

from collections.abc import Iterable

from cmd_api.v1 import daemon_pb2, facility_pb2

from .call import Call, change, rpc


class FacilityCalls:
    """The methods of FacilityService."""

    @rpc
    def get_facility(self, name: str) -> Call[facility_pb2.Facility]:
        """One facility. Raises NotFound."""
        request = facility_pb2.GetFacilityRequest(name=name)
        return Call("FacilityService/GetFacility", request, facility_pb2.Facility)

    @rpc
    def list_facilities(self) -> Call[facility_pb2.ListFacilitiesResponse]:
        """All facilities."""
        request = facility_pb2.ListFacilitiesRequest()
        return Call("FacilityService/ListFacilities", request, facility_pb2.ListFacilitiesResponse)

    @rpc
    def drain_facility(
        self, name: str, *, reason: str = "", request_id: str | None = None
    ) -> Call[facility_pb2.Facility]:
        """Send no new work there; what runs goes on. Raises NotFound."""
        request = facility_pb2.DrainFacilityRequest(name=name, reason=reason)
        return change("FacilityService/DrainFacility", request, facility_pb2.Facility, request_id)

    @rpc
    def undrain_facility(
        self, name: str, *, reason: str = "", request_id: str | None = None
    ) -> Call[facility_pb2.Facility]:
        """Take a drain back. Raises NotFound."""
        request = facility_pb2.UndrainFacilityRequest(name=name, reason=reason)
        return change("FacilityService/UndrainFacility", request, facility_pb2.Facility, request_id)

    @rpc
    def update_facility(
        self,
        name: str,
        *,
        limits: facility_pb2.FacilityLimits | None = None,
        reset: bool = False,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[facility_pb2.Facility]:
        """Change limits of a facility while the daemon runs; with `reset` former edits are taken back
        first. Memory in bytes, wall time in seconds. Raises NotFound, InvalidArgument, EtagMismatch.
        """
        request = facility_pb2.UpdateFacilityRequest(
            name=name, limits=limits, reset=reset, reason=reason, etag=etag
        )
        return change("FacilityService/UpdateFacility", request, facility_pb2.Facility, request_id)

    @rpc
    def kill_facility(
        self, name: str, *, reason: str = "", request_id: str | None = None
    ) -> Call[facility_pb2.Facility]:
        """The kill switch: cancel everything of ours there and take no work. A reason is required.

        The answer's `ending` counts the jobs that were asked to end. Raises NotFound, InvalidArgument.
        """
        request = facility_pb2.KillFacilityRequest(name=name, reason=reason)
        return change("FacilityService/KillFacility", request, facility_pb2.Facility, request_id)

    @rpc
    def revive_facility(
        self, name: str, *, reason: str = "", retry: bool = False, request_id: str | None = None
    ) -> Call[facility_pb2.Facility]:
        """Take a kill back; with `retry` the jobs that the kill ended are tried again.

        Raises NotFound.
        """
        request = facility_pb2.ReviveFacilityRequest(name=name, reason=reason, retry=retry)
        return change("FacilityService/ReviveFacility", request, facility_pb2.Facility, request_id)


class DaemonCalls:
    """The methods of DaemonService."""

    @rpc
    def get_daemon(self) -> Call[daemon_pb2.Daemon]:
        """Version, health, and how far the daemon is."""
        return Call("DaemonService/GetDaemon", daemon_pb2.GetDaemonRequest(), daemon_pb2.Daemon)

    @rpc
    def get_caller(self) -> Call[daemon_pb2.Caller]:
        """Who the daemon takes this client for, and what it may do."""
        return Call("DaemonService/GetCaller", daemon_pb2.GetCallerRequest(), daemon_pb2.Caller)

    @rpc
    def list_plugins(self) -> Call[daemon_pb2.ListPluginsResponse]:
        """Loaded plugins and what each brought."""
        request = daemon_pb2.ListPluginsRequest()
        return Call("DaemonService/ListPlugins", request, daemon_pb2.ListPluginsResponse)

    @rpc
    def explain_entity(
        self, name: str, *, without: Iterable[str] = ()
    ) -> Call[daemon_pb2.ExplainEntityResponse]:
        """Why an entity is where it is, what it waits for, what can be done.

        `without` are facilities/{facility} to be taken as down: the answer's `what_if` tells where a
        group would go then. Raises NotFound.
        """
        request = daemon_pb2.ExplainEntityRequest(name=name, without=without)
        return Call("DaemonService/ExplainEntity", request, daemon_pb2.ExplainEntityResponse)
