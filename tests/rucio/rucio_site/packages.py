"""What the site needs from Debian: PostgreSQL's server and ActiveMQ, installed if need be."""

import shutil
from pathlib import Path

from services.debian import Find, found

ACTIVEMQ_JAR = Path("/usr/share/activemq/bin/activemq.jar")


def postgres_bin() -> Path:
    """The directory with initdb and postgres; installed as root where missing."""
    return found(_find_postgres, "postgresql", "PostgreSQL's server (initdb, postgres)", FIND)


def activemq_jar() -> Path:
    """ActiveMQ's start archive; installed as root where missing."""
    return found(_find_activemq, "activemq", "ActiveMQ", FIND)


def _find_postgres() -> Path | None:
    in_path = shutil.which("initdb")
    if in_path:
        return Path(in_path).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    return newest.parent if newest else None


def _find_activemq() -> Path | None:
    return ACTIVEMQ_JAR if ACTIVEMQ_JAR.exists() and shutil.which("java") else None


FIND: dict[str, Find] = {"postgresql": _find_postgres, "activemq": _find_activemq}
