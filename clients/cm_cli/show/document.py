"""JSON on stdout: protobuf's JSON with the contract's own field names, every field present.

As in protobuf's JSON, 64-bit integers are strings, times are RFC 3339 and bytes are base64. Text
is escaped to ASCII, so that no control character reaches a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message


def as_dict(message: Message) -> dict[str, Any]:
    """A message with snake_case keys; unset times are left out, all else is always there."""
    fields: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


def print_message(message: Message) -> None:
    """One JSON object."""
    print_document(as_dict(message))


def print_messages(messages: Iterable[Message]) -> None:
    """One JSON array."""
    print_document([as_dict(message) for message in messages])


def print_line(message: Message) -> None:
    """One JSON object on a line of its own, at once."""
    sys.stdout.write(json.dumps(as_dict(message)) + "\n")
    sys.stdout.flush()


def print_document(document: Any) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
