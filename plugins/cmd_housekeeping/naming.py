"""The name of an attempt at the far side and in the daemon's own folder."""

import hashlib
import re

UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def ref_of(key: str) -> str:
    """A relative directory that follows from the attempt's key alone: readable by people, safe in
    any shell and file system, and unique by a digest of the key."""
    path, _, attempt = key.rpartition("#")
    parts = [UNSAFE.sub("_", part)[:60].lstrip(".") or "_" for part in path.split("/")]
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    number = UNSAFE.sub("_", attempt)[:10]
    name = ".".join(parts[2:])[:150] or "_"
    return "/".join([*parts[:2], f"{name}.a{number}-{digest}"])
