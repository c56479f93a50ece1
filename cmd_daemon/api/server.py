"""The gRPC server: our services, health and reflection, on a Unix socket and on TCP ports with TLS."""

import socket
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from cmd_api.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    campaign_pb2,
    campaign_pb2_grpc,
    daemon_pb2,
    daemon_pb2_grpc,
    event_pb2,
    event_pb2_grpc,
    facility_pb2,
    facility_pb2_grpc,
    group_pb2,
    group_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    schedule_pb2,
    schedule_pb2_grpc,
    statistics_pb2,
    statistics_pb2_grpc,
    step_pb2,
    step_pb2_grpc,
)
from cmd_daemon.api.audit import AuditService
from cmd_daemon.api.campaigns import CampaignService
from cmd_daemon.api.events import EventService
from cmd_daemon.api.explain import DaemonService
from cmd_daemon.api.facilities import FacilityService
from cmd_daemon.api.groups import GroupService
from cmd_daemon.api.identity.gate import Gate
from cmd_daemon.api.interceptor import Edge
from cmd_daemon.api.jobs import JobService
from cmd_daemon.api.schedules import ScheduleService
from cmd_daemon.api.service import Room
from cmd_daemon.api.statistics import StatisticsService
from cmd_daemon.api.steps import StepService

CONCURRENT_CALLS = 1000
METADATA_BYTES = 64 * 1024

OPTIONS = [
    # Two daemons must never share a port silently.
    ("grpc.so_reuseport", 0),
    # A token with many groups is more than the 8 KiB that gRPC takes without being told.
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]


class SocketInUse(Exception):
    """Another program listens on the socket or port."""


class Server:
    """Serves the API; `stop` ends watches first and lets short calls finish. `outer` are further
    interceptors, around our own."""

    def __init__(
        self,
        room: Room,
        gate: Gate,
        message_bytes: int,
        ports: Mapping[str, grpc.ServerCredentials],
        outer: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        """`message_bytes` is the largest message taken; `ports` are TCP addresses to listen on, with the
        credentials of each."""
        self._ports = ports
        self.gate = gate
        self._server = grpc.aio.server(
            interceptors=[*outer, Edge(room.engine, gate)],
            options=[*OPTIONS, ("grpc.max_receive_message_length", message_bytes)],
            maximum_concurrent_rpcs=CONCURRENT_CALLS,
        )
        self._health = health.HealthServicer()
        server = self._server
        campaign_pb2_grpc.add_CampaignServiceServicer_to_server(CampaignService(room), server)
        step_pb2_grpc.add_StepServiceServicer_to_server(StepService(room), server)
        group_pb2_grpc.add_GroupServiceServicer_to_server(GroupService(room), server)
        job_pb2_grpc.add_JobServiceServicer_to_server(JobService(room), server)
        event_pb2_grpc.add_EventServiceServicer_to_server(EventService(room), server)
        facility_pb2_grpc.add_FacilityServiceServicer_to_server(FacilityService(room), server)
        schedule_pb2_grpc.add_ScheduleServiceServicer_to_server(ScheduleService(room), server)
        daemon_pb2_grpc.add_DaemonServiceServicer_to_server(DaemonService(room), server)
        statistics_pb2_grpc.add_StatisticsServiceServicer_to_server(StatisticsService(room), server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditService(room), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self.services = [
            module.DESCRIPTOR.services_by_name[name].full_name
            for module, name in (
                (campaign_pb2, "CampaignService"),
                (step_pb2, "StepService"),
                (group_pb2, "GroupService"),
                (job_pb2, "JobService"),
                (event_pb2, "EventService"),
                (facility_pb2, "FacilityService"),
                (schedule_pb2, "ScheduleService"),
                (daemon_pb2, "DaemonService"),
                (statistics_pb2, "StatisticsService"),
                (audit_pb2, "AuditService"),
            )
        ]
        reflection.enable_server_reflection(
            [*self.services, HEALTH, reflection.SERVICE_NAME], server
        )

    async def start(self, path: Path) -> None:
        """Listen on the ports, and on a Unix socket that only its owner and group may use; NOT_SERVING
        until `serving`. Raises SocketInUse."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_stale(path)
        for address, credentials in self._ports.items():
            try:
                self._server.add_secure_port(address, credentials)
            except RuntimeError as error:
                raise SocketInUse(f"cannot listen on {address}: {error}") from error
        self._server.add_insecure_port(f"unix:{path}")
        await self._server.start()
        path.chmod(0o660)
        await self._tell(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def serving(self) -> None:
        """Answer SERVING: this daemon leads and takes changes."""
        await self._tell(health_pb2.HealthCheckResponse.SERVING)

    async def _tell(self, status: int) -> None:
        for name in ("", *self.services):
            await self._health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Answer NOT_SERVING, then end; calls under way have `grace_s` seconds."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


def _clear_stale(path: Path) -> None:
    """Remove a socket nobody listens on (left by a killed daemon)."""
    if len(str(path).encode()) > 100:
        raise SocketInUse(f"{path}: a Unix socket's path may have 100 bytes at most")
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise SocketInUse(f"{path} is there already and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise SocketInUse(f"another daemon listens on {path}")
