"""Log bytes as text that a terminal may be shown."""

from __future__ import annotations

import codecs
from collections.abc import Callable

from .show.text import clean


def terminal_text() -> Callable[[bytes], str]:
    """A function that turns one piece of a log after the other into text without control characters.

    A UTF-8 character that is cut between two pieces comes out whole; bytes that are none come out
    as the replacement character.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def decode(data: bytes) -> str:
        return clean(decoder.decode(data), lines=True)

    return decode
