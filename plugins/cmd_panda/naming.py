"""The names of what we make in PanDA and iDDS: each follows from the attempt's key alone."""

import hashlib
import re

UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
LONGEST = 120
"""Characters of a name: PanDA's column has 132, and iDDS puts a label and a number behind."""

DIGEST = 16
_PARTS = 24


def name_of(key: str, prefix: str) -> str:
    """A name that people can read, unique by a digest of the key.

    It has no character that PanDA takes for a regular expression, for then it would not look the name
    up in its database but cut the list before it looks.
    """
    path, _, attempt = key.rpartition("#")
    parts = [UNSAFE.sub("_", part)[:_PARTS].strip("_") or "_" for part in path.split("/")[:4]]
    number = UNSAFE.sub("_", attempt)[:6]
    digest = hashlib.sha256(key.encode()).hexdigest()[:DIGEST]
    readable = "_".join(parts)[: LONGEST - len(prefix) - len(number) - DIGEST - 4]
    return f"{prefix}_{readable}_a{number}_{digest}"
