"""Page tokens: the last id (or sequence number) of a page, opaque and bound to the question asked."""

import base64
import binascii
import hashlib

from cmd_daemon.api.errors import invalid

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000


def page_size(asked: int) -> int:
    """The size to serve. Raises ApiError for one that is out of range."""
    if not 0 <= asked <= LARGEST_PAGE:
        raise invalid("page_size", f"must be 1 to {LARGEST_PAGE} (0: {DEFAULT_PAGE}), not {asked}")
    return asked or DEFAULT_PAGE


def _mark(question: str) -> bytes:
    return hashlib.sha256(question.encode()).digest()[:6]


def token(question: str, last: int) -> str:
    """The token of the page after `last`."""
    return base64.urlsafe_b64encode(_mark(question) + last.to_bytes(8, "big")).decode()


def after(question: str, given: str) -> int:
    """Where the page begins. Raises ApiError for a token that is not of this question."""
    if not given:
        return 0
    try:
        raw = base64.b64decode(given, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 14 or raw[:6] != _mark(question):
        raise invalid("page_token", "is not a token of this list; begin again without one")
    return min(int.from_bytes(raw[6:], "big"), 2**63 - 1)
