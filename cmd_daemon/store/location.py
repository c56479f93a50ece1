"""Where a database file may lie, and whose it is: network file systems, the lock of one process, fsync."""

import fcntl
import os
from pathlib import Path

from cmd_daemon.store.errors import AlreadyInUse, BadUrl, NetworkFileSystem

MOUNTS = Path("/proc/self/mountinfo")

# SQLite's WAL needs shared memory between processes and locks that hold: sqlite.org/wal.html,
# "does not work over a network filesystem".
_NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fhgfs", "gfs2", "glusterfs", "gpfs"),
    *("lustre", "mmfs", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2"),
}
_NETWORK_PREFIXES = ("nfs", "smb", "cifs", "ceph")
_NETWORK_FUSE = ("sshfs", "gluster", "ceph", "s3", "rclone", "davfs", "gcs", "juicefs", "xrootd")


def _unescape(path: str) -> str:
    # The kernel writes space, tab, newline and backslash as three octal digits.
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, char)
    return path


def file_system_of(path: Path, mounts: str) -> str:
    """The type of the file system that `path` (absolute, resolved) lies on, by the text of
    `/proc/self/mountinfo` (see proc(5)); "" if none of its lines covers the path."""
    best, found = -1, ""
    for line in mounts.splitlines():
        before, dash, after = line.partition(" - ")
        parts, rest = before.split(" "), after.split(" ")
        if not dash or len(parts) < 5:
            continue
        point = _unescape(parts[4])
        # Of two mounts on one point the later one hides the earlier.
        if path.is_relative_to(point) and len(point) >= best:
            best, found = len(point), rest[0]
    return found


def is_network(kind: str) -> bool:
    """Whether a file system of this type (a mountinfo word, such as `nfs4` or `fuse.sshfs`) may be
    shared between machines."""
    if kind.startswith("fuse."):
        return kind.removeprefix("fuse.").startswith(_NETWORK_FUSE)
    return kind in _NETWORK or kind.startswith(_NETWORK_PREFIXES)


def refuse_network(path: Path, mounts: Path = MOUNTS) -> None:
    """Raise `NetworkFileSystem` if the file would lie on one. Where the mounts cannot be read (not
    Linux) nothing is refused."""
    try:
        text = mounts.read_text()
    except OSError:
        return
    kind = file_system_of(path.resolve(), text)
    if is_network(kind):
        raise NetworkFileSystem(
            f"the database {path} would lie on a network file system ({kind}), where SQLite loses "
            "data. Put it on a local disk, or use PostgreSQL."
        )


def take_lock(path: Path) -> int:
    """Lock `<path>.lock` for this process and return the open file descriptor; closing it (or the
    death of the process) gives the lock back.

    Raises `AlreadyInUse` if another holds it, `BadUrl` if the file cannot be made.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadUrl(
            f"the database {path} cannot be used: {error.strerror or error}. Make the directory, or "
            "let the daemon's user write there."
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(fd, 32).decode("ascii", "replace").strip()
        os.close(fd)
        who = f" (process {holder})" if holder else ""
        raise AlreadyInUse(
            f"another daemon{who} works on the database {path}. Stop it first, or give this daemon "
            "a database of its own."
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def settle(path: Path) -> None:
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
