"""Client library of the campaign-management daemon.

    from cm_client import Client

    with Client() as cm:
        for group in cm.groups("campaigns/DRP1/steps/coadd"):
            print(group.name)

`Client` blocks, `AsyncClient` is awaited; both have the same methods, which take keyword arguments
and give the messages of `cmd_api.v1`. A lost connection is made again, and what is safe to do
twice is tried again.
"""

from .address import Address
from .asynchronous import AsyncClient
from .blocking import Client
from .credentials import Credentials, kept_token
from .errors import (
    CmError,
    DaemonUnavailable,
    DeadlineExceeded,
    DriverFailed,
    EtagMismatch,
    HistoryGone,
    Interrupted,
    InvalidArgument,
    InvalidCampaignFile,
    InvalidName,
    LimitReached,
    NotAccepting,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    RequestIdReused,
    SocketForbidden,
    StateRefused,
    WatcherTooSlow,
    connection_lost,
)
from .names import (
    Name,
    campaign_name,
    facility_name,
    group_name,
    is_sum,
    job_name,
    parse_name,
    schedule_name,
    short_name,
    step_name,
)
from .retry import Backoff

__all__ = [
    "Address",
    "AsyncClient",
    "Backoff",
    "Client",
    "CmError",
    "Credentials",
    "DaemonUnavailable",
    "DeadlineExceeded",
    "DriverFailed",
    "EtagMismatch",
    "HistoryGone",
    "Interrupted",
    "InvalidArgument",
    "InvalidCampaignFile",
    "InvalidName",
    "LimitReached",
    "Name",
    "NotAccepting",
    "NotAuthenticated",
    "NotFound",
    "PermissionDenied",
    "RequestIdReused",
    "SocketForbidden",
    "StateRefused",
    "WatcherTooSlow",
    "campaign_name",
    "connection_lost",
    "facility_name",
    "group_name",
    "is_sum",
    "job_name",
    "kept_token",
    "parse_name",
    "schedule_name",
    "short_name",
    "step_name",
]
