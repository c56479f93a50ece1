"""The states of iDDS, by iDDS' own names: answers carry class names and values."""

from enum import Enum
from typing import Any


class RequestStatus(Enum):
    New = 0
    Ready = 1
    Transforming = 2
    Finished = 3
    SubFinished = 4
    Failed = 5
    Extend = 6
    ToCancel = 7
    Cancelling = 8
    Cancelled = 9
    ToSuspend = 10
    Suspending = 11
    Suspended = 12
    ToResume = 13
    Resuming = 14
    ToExpire = 15
    Expiring = 16
    Expired = 17


class TransformStatus(Enum):
    New = 0
    Ready = 1
    Transforming = 2
    Finished = 3
    SubFinished = 4
    Failed = 5
    Cancelled = 9
    Suspended = 12


class ProcessingStatus(Enum):
    New = 0
    Submitting = 1
    Submitted = 2
    Running = 3
    Finished = 4
    Failed = 5
    SubFinished = 11
    Cancelled = 14
    Suspended = 17


class CollectionStatus(Enum):
    New = 0
    Processing = 2
    Closed = 4
    SubClosed = 5
    Failed = 6


class TransformType(Enum):
    Processing = 6


class RequestType(Enum):
    Workflow = 0


class RequestLocking(Enum):
    Idle = 0


class CommandType(Enum):
    NoneCommand = 0


def tagged(value: Any) -> Any:
    """An enum as iDDS writes it into JSON: class, module and attributes."""
    if not isinstance(value, Enum):
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    order = list(type(value)).index(value)
    attributes = {"_value_": value.value, "_name_": value.name, "_sort_order_": order}
    return {
        "class": type(value).__name__,
        "module": "idds.common.constants",
        "attributes": attributes | {"_loading": False},
    }
