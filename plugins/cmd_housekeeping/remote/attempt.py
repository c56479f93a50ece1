"""The far side of the driver `ssh`: plants, starts, watches, ends and shows attempts of scripts and
process jobs.

    python3 -I -S attempt.py WORK_DIRECTORY  < request  > answer

Self-contained: standard library, Python 3.6 or newer, Linux; it runs under the facility's Python.
The request is one JSON object with a `verb`; the answer starts with a line

    #cmd-answer JSON_BYTES BLOB_BYTES

followed by that many bytes of each, so that what login files print does no harm. A request cut
off on its way is not a JSON object and changes nothing.

Below the work directory:

    attempts/REF/       one directory for each attempt, renamed into place when complete
        order.json      what was ordered; `script`, where the script's text travelled; further
                        files of the order's own, such as the `runner.json` of a process job
        supervisor.lock held with flock for the whole life of the attempt's supervisor
        started         made with O_EXCL just before the command starts; never started twice
        log.txt         standard output and error of the command
        progress.json, outcome.json   what the runner of a process job tells
        cancel          somebody asked for the end
        exit.json       how it ended; its room on the disk is taken before the command starts
    running/NAME        markers of attempts that are not over
    fence/OWNER         the token whose holder may plant; a new token shuts out late calls
    plant.lock, tmp/, ledger

The work directory must be on a file system where flock works between all machines that use it.
Times are microseconds UTC, durations seconds, sizes bytes.
"""
# No pathlib and no new syntax: this file has to start fast, under an old Python too.
# ruff: noqa: BLE001

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from typing import Any, Dict, Iterator, List, Optional, Tuple

TICK_S = 1.0
LOCK_WAIT_S = 40.0
SUPERVISOR_LOCK_WAIT_S = 10.0
START_WAIT_S = 20.0
# Errors at a command's start that pass: another process still holds the script's file open for
# writing, or the machine has no process or memory to give just now.
BUSY = {errno.ETXTBSY, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
ENDING_ROOM = 4096
TAIL_BYTES = 64 * 1024
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
MARK = "CMD_ATTEMPT_DIR"
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
WAKING = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
TELLING_TO_END = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

Document = Dict[str, Any]


class Problem(Exception):
    """The request cannot be carried out; `kind` is transient, not-yet, permanent, fenced, or program
    for a program of the daemon's that has to be put here first."""

    def __init__(self, kind: str, message: str) -> None:
        Exception.__init__(self, message)
        self.kind = kind


def now_us() -> int:
    """Microseconds since the epoch, UTC."""
    return int(time.time() * 1000000)


def sync_directory(path: str) -> None:
    """Make new names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: str, data: bytes, mode: int = 0o600) -> None:
    """Write a new file whole and for good; raises OSError, also when the disk is full."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: str) -> Optional[Document]:
    """A JSON object from a file, or None where there is none."""
    try:
        with open(path, "rb") as source:
            document = json.loads(source.read().decode("utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


@contextlib.contextmanager
def planting(root: str) -> Iterator[None]:
    """Hold the lock of the work directory; Problem transient if another keeps it too long."""
    handle = os.open(os.path.join(root, "plant.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        give_up_at = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    raise Problem("transient", "another call holds %s/plant.lock" % root)
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)


# ---- the supervisor of one attempt


def take_lock(path: str, wait_s: float) -> Optional[int]:
    """Hold the attempt's lock, or return None if another keeps it. A prober may hold it for an
    instant, so it is asked for more than once."""
    name = os.path.join(path, "supervisor.lock")
    handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up_at = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                os.close(handle)
                return None
            time.sleep(0.02)
        else:
            return handle


def descendants() -> Dict[int, int]:
    """Living processes below this one, as {pid: resident bytes}. Zombies are left out."""
    parents = {}  # type: Dict[int, int]
    sizes = {}  # type: Dict[int, int]
    page = os.sysconf("SC_PAGE_SIZE")
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb") as source:
                fields = source.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] not in (b"Z", b"X"):
            parents[int(name)] = int(fields[1])
            sizes[int(name)] = int(fields[21]) * page
    mine = os.getpid()
    found = {}
    for pid in parents:
        up = pid
        for _ in range(200):
            up = parents.get(up, 0)
            if up in (0, 1):
                break
            if up == mine:
                found[pid] = sizes[pid]
                break
    return found


class Running:
    """The command under supervision."""

    def __init__(self, order: Document) -> None:
        self.order = order
        self.main = 0
        self.status = None  # type: Optional[int]
        self.killed_for = None  # type: Optional[str]
        self.kill_at = None  # type: Optional[float]
        self.max_rss = 0

    def start(self, path: str) -> None:
        """Start it in a session of its own; raises OSError if it cannot be started."""
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        # Orphans of the command become ours, so that none escapes the limits or the end.
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

        def in_child() -> None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, WAKING)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        env.update(self.order["env"])
        env[MARK] = path
        give_up_at = time.monotonic() + START_WAIT_S
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while not self.main:
                try:
                    process = subprocess.Popen(
                        self.order["argv"],
                        env=env,
                        cwd=path,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        preexec_fn=in_child,
                    )
                except OSError as error:
                    # Nothing ran: another try is no second start.
                    if error.errno not in BUSY or time.monotonic() > give_up_at:
                        raise
                    time.sleep(0.05)
                else:
                    process.returncode = 0  # reaped below by waitpid(-1), not by Popen
                    self.main = process.pid
        finally:
            os.close(log)

    def reap(self) -> None:
        """Collect ended children; remember how the command itself ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.main:
                self.status = status

    def end(self, reason: Optional[str], at_once: bool = False) -> None:
        """Begin to end the whole tree; the reason that came first stays."""
        if self.kill_at is None:
            if self.status is None:
                self.killed_for = reason
            self.kill_at = time.monotonic() + (0.0 if at_once else self.order["grace_s"])
            if not at_once:
                self.send(signal.SIGTERM)

    def send(self, number: int) -> None:
        """Signal every living process of the tree."""
        for pid in descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def watch(self) -> int:
        """Wait for the end of the whole tree, holding it to its limits; the command's status."""
        deadline = time.monotonic() + self.order["walltime_s"]
        tick = 0.05
        while True:
            told = signal.sigtimedwait(WAKING, tick)
            tick = min(TICK_S, tick * 2)
            self.reap()
            living = descendants()
            rss = sum(living.values())
            self.max_rss = max(self.max_rss, rss)
            if self.status is not None and not living:
                return self.status
            if self.status is not None:
                self.end(None)
            elif os.path.exists("cancel"):
                self.end("cancelled")
            elif told is not None and told.si_signo in TELLING_TO_END:
                self.end("terminated")
            elif time.monotonic() > deadline:
                self.end("time")
            elif self.order["memory"] and rss > self.order["memory"]:
                self.end("memory", at_once=True)
            if self.kill_at is not None:
                if time.monotonic() >= self.kill_at:
                    self.send(signal.SIGKILL)
                tick = 0.05

    def exit_code(self, status: int) -> Tuple[int, Optional[int]]:
        """(exit code as a shell would say it, signal or None)."""
        code, ended_by = 0, None
        if os.WIFSIGNALED(status):
            ended_by = os.WTERMSIG(status)
            code = 128 + ended_by
        else:
            code = os.WEXITSTATUS(status)
        if self.killed_for == "memory":
            code = 137
        elif self.killed_for == "time":
            code = 124
        return code, ended_by


def supervise(root: str, path: str) -> Optional[Document]:
    """Run the command once and say how it ended, as the content of exit.json. None if it was not
    started now: over, started before by a supervisor that vanished, or no room for the marker."""
    if os.path.exists("exit.json") or os.path.exists("started"):
        return None
    ending = {"killed_for": None, "max_rss": 0, "cpu_seconds": 0.0}  # type: Document
    if os.path.exists("cancel"):
        ending.update(exit_code=None, signal=None, killed_for="cancelled", started_at=None)
        return ending
    order = read_json("order.json") or {}
    started_at = now_us()
    ending["started_at"] = started_at
    marker = os.open("started", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with contextlib.suppress(OSError):  # the name alone is what counts
        os.write(marker, str(started_at).encode())
        os.fsync(marker)
    os.close(marker)
    sync_directory(".")
    with contextlib.suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        ledger = os.open(os.path.join(root, "ledger"), flags, 0o600)
        os.write(ledger, ("%s\n" % order.get("key")).encode())
        os.close(ledger)
    running = Running(order)
    try:
        running.start(path)
    except OSError as error:
        code = 127 if isinstance(error, FileNotFoundError) else 126
        words = "%s cannot be started: %s" % (order["argv"][0], error.strerror)
        with contextlib.suppress(OSError), open("log.txt", "a") as log:
            log.write(words + "\n")
        ending.update(exit_code=code, signal=None, error=words, errno=error.errno)
        return ending
    code, number = running.exit_code(running.watch())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    ending.update(
        exit_code=code,
        signal=number,
        killed_for=running.killed_for,
        max_rss=max(running.max_rss, used.ru_maxrss * 1024),
        cpu_seconds=round(used.ru_utime + used.ru_stime, 3),
    )
    return ending


def write_ending(root: str, path: str, ending: Document) -> None:
    """Write exit.json into the room kept for it, so that a full disk does not lose the end."""
    ending["finished_at"] = now_us()
    data = json.dumps(ending).encode()
    kept = os.path.join(path, ".exit")
    while True:
        try:
            handle = os.open(kept, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.write(handle, data.ljust(ENDING_ROOM))
                os.fsync(handle)
            finally:
                os.close(handle)
            os.rename(kept, os.path.join(path, "exit.json"))
            sync_directory(path)
            break
        except FileNotFoundError:
            return  # the directory was removed: nobody wants to know
        except OSError:
            time.sleep(5.0)
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(root, "running", os.path.basename(path)))


def spawn(root: str, path: str) -> None:
    """Start the attempt's supervisor so that it outlives this call and the connection."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.pthread_sigmask(signal.SIG_BLOCK, WAKING)
        os.chdir(path)
        null = os.open(os.devnull, os.O_RDWR)
        try:
            log = os.open("supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            log = null
        for number, handle in ((0, null), (1, log), (2, log)):
            os.dup2(handle, number)
        os.closerange(3, 4096)
        lock = take_lock(path, SUPERVISOR_LOCK_WAIT_S)
        if lock is None:
            os._exit(3)
        with contextlib.suppress(OSError):
            os.ftruncate(lock, 0)
            os.pwrite(lock, ("%d %s" % (os.getpid(), socket.gethostname())).encode(), 0)
        ending = supervise(root, path)
        if ending is not None:
            write_ending(root, path, ending)
        os._exit(0)
    except BaseException:
        with contextlib.suppress(BaseException):
            os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(4)


# ---- looking at attempts


def kill_strays(path: str) -> None:
    """Kill processes of an attempt whose supervisor is gone, known by their environment."""
    mark = ("%s=%s" % (MARK, path)).encode()
    for _ in range(50):
        found = False
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            try:
                with open("/proc/%s/environ" % name, "rb") as source:
                    marked = mark in source.read().split(b"\0")
            except OSError:
                continue
            if marked:
                found = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(name), signal.SIGKILL)
        if not found:
            return
        time.sleep(0.02)


def tail(path: str, name: str) -> List[str]:
    """The last lines of a log, at most 64 KiB."""
    try:
        with open(os.path.join(path, name), "rb") as source:
            size = source.seek(0, os.SEEK_END)
            source.seek(max(0, size - TAIL_BYTES))
            text = source.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()]


def over(path: str, ending: Document) -> Document:
    """What to tell of an attempt that is over: its end, its result line, its last words, what it was
    allowed, and the runner's own word of a process job."""
    lines = tail(path, "log.txt")
    result = None
    for line in reversed(lines[-20:]):
        if line.startswith("{"):
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict):
                result = told
                break
    last = [line[:400] for line in lines[-5:]]
    story = {"stage": "over", "ending": ending, "result": result, "last": last}
    order = read_json(os.path.join(path, "order.json")) or {}
    for name in ("kind", "memory", "walltime_s", "output_run"):
        story[name] = order.get(name)
    if order.get("kind") == "process":
        story["told"] = read_json(os.path.join(path, "outcome.json"))
    return story


def size_of(path: str) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def look(root: str, path: str) -> Document:
    """How far one attempt is. One that was planted but not started is started; one whose
    supervisor vanished is brought to its end here."""
    if not os.path.isdir(path):
        os.stat(os.path.join(root, "attempts"))  # a missing disk is not a missing attempt
        return {"stage": "missing"}
    ending = read_json(os.path.join(path, "exit.json"))
    if ending is not None:
        return over(path, ending)
    lock = take_lock(path, 0.0)
    if lock is None:
        told = read_json(os.path.join(path, "progress.json"))
        size = size_of(os.path.join(path, "log.txt"))
        return {"stage": "running", "bytes": size, "progress": told}
    try:
        # The lock is ours: no supervisor lives, and none can begin while we look.
        ending = read_json(os.path.join(path, "exit.json"))
        if ending is None and os.path.exists(os.path.join(path, "started")):
            kill_strays(path)
            began = size_of(os.path.join(path, "started"))
            with open(os.path.join(path, "started")) as source:
                text = source.read() if began else ""
            ending = {
                "exit_code": None,
                "signal": None,
                "killed_for": "vanished",
                "started_at": int(text) if text.isdigit() else None,
                "last_words": "".join(tail(path, "supervisor.log")[-1:])[:300],
            }
            write_ending(root, path, ending)
    finally:
        os.close(lock)
    if ending is not None:
        return over(path, ending)
    spawn(root, path)
    return {"stage": "unstarted"}


# ---- the verbs


def attempt_path(root: str, ref: str) -> str:
    """The directory of an attempt; Problem permanent for a name that leads elsewhere."""
    parts = ref.split("/")
    if not ref or any(part.startswith(".") or not part for part in parts):
        raise Problem("permanent", "%r is no attempt's name" % ref)
    return os.path.join(root, "attempts", *parts)


def prepare(root: str, request: Document) -> Document:
    """Make the work directory ready and become the only one who may plant for this owner."""
    for name in ("attempts", "tmp", "running", "fence"):
        os.makedirs(os.path.join(root, name), mode=0o700, exist_ok=True)
    with planting(root):
        for name in os.listdir(os.path.join(root, "tmp")):
            shutil.rmtree(os.path.join(root, "tmp", name), ignore_errors=True)
        set_fence(root, request)
        if request.get("keep_s"):
            remove_older(root, time.time() - request["keep_s"])
    return {"host": socket.gethostname(), "python": sys.version.split()[0]}


def set_fence(root: str, request: Document) -> None:
    """From now on only plants with this token are carried out."""
    final = os.path.join(root, "fence", request["owner"])
    write_durably(final + ".new", request["token"].encode())
    os.rename(final + ".new", final)
    sync_directory(os.path.dirname(final))


def remove_older(root: str, before: float) -> None:
    """Remove attempts that ended before that time (seconds since the epoch)."""
    for path, _, files in os.walk(os.path.join(root, "attempts")):
        if "exit.json" in files:
            with contextlib.suppress(OSError):
                if os.stat(os.path.join(path, "exit.json")).st_mtime < before:
                    shutil.rmtree(path, ignore_errors=True)


def living(root: str) -> List[str]:
    """The directories of attempts that are not over; markers left behind by a crash go."""
    found = []
    folder = os.path.join(root, "running")
    for name in os.listdir(folder):
        marker = os.path.join(folder, name)
        try:
            with open(marker) as source:
                path = os.path.join(root, "attempts", source.read())
        except OSError:
            continue
        if os.path.isdir(path) and not os.path.exists(os.path.join(path, "exit.json")):
            found.append(path)
        else:
            with contextlib.suppress(OSError):
                os.unlink(marker)
    return found


def memory_of(path: str) -> int:
    """The bytes of memory that a planted attempt may use."""
    return int((read_json(os.path.join(path, "order.json")) or {}).get("memory") or 0)


class Room:
    """What there is room for: attempts at a time, and their memory together."""

    def __init__(self, root: str, request: Document) -> None:
        running = living(root)
        self.slots = request["slots"]
        self.memory = request.get("memory")  # type: Optional[int]
        self.taken = len(running)
        self.used = sum(memory_of(path) for path in running) if self.memory else 0

    def take(self, order: Document) -> None:
        """Take room for an order; Problem not-yet if there is none."""
        asked = int(order["memory"])
        if self.taken >= self.slots:
            raise Problem("not-yet", "all %d slots are taken" % self.slots)
        if self.memory and self.used and self.used + asked > self.memory:
            words = "%.1f GB of its %.1f GB of memory are taken, the job asks for %.1f GB"
            raise Problem("not-yet", words % (self.used / 1e9, self.memory / 1e9, asked / 1e9))
        self.taken += 1
        self.used += asked

    def give_back(self, order: Document) -> None:
        """What was taken is not needed."""
        self.taken -= 1
        self.used -= int(order["memory"])


def see_needs(order: Document) -> None:
    """Problem of the order's own kind and words for the first file it needs and that is not here."""
    for need in order["needs"]:
        if not os.path.isfile(need["file"]):
            raise Problem(need["kind"], need["words"])


def plant(root: str, request: Document) -> Document:
    """Make and start attempts; one that is there already is taken as it is."""
    answers = []
    fresh = []
    with planting(root):
        try:
            with open(os.path.join(root, "fence", request["owner"])) as source:
                token = source.read()
        except OSError as error:
            raise Problem("transient", "the fence cannot be read: %s" % error)
        if token != request["token"]:
            raise Problem("fenced", "this call came too late, another has taken over")
        room = Room(root, request)
        for order in request["orders"]:
            answer = {"key": order["key"], "taken": True}
            answers.append(answer)
            path = attempt_path(root, order["ref"])
            if os.path.isdir(path):
                continue
            try:
                see_needs(order)
                room.take(order)
            except Problem as problem:
                answer.update(taken=False, kind=problem.kind, message=str(problem))
                continue
            try:
                make(root, path, order)
            except OSError as error:
                room.give_back(order)
                answer.update(taken=False, kind="transient", message=disk_words(root, error))
            else:
                fresh.append(path)
    for path in fresh:
        try:
            spawn(root, path)
        except OSError:
            continue  # no process to be had now: the next look starts it
    return {"answers": answers}


def make(root: str, path: str, order: Document) -> None:
    """Make one attempt's directory, at once; the renaming is the point of no return."""
    name = os.path.basename(path)
    partial = os.path.join(root, "tmp", name)
    marker = os.path.join(root, "running", name)
    shutil.rmtree(partial, ignore_errors=True)
    os.mkdir(partial, 0o700)
    try:
        write_durably(os.path.join(partial, ".exit"), b" " * ENDING_ROOM)
        kept = dict(order)
        for file, text in kept.pop("files", {}).items():
            write_durably(os.path.join(partial, os.path.basename(file)), text.encode())
        kept["argv"] = argv_of(partial, path, kept)
        write_durably(os.path.join(partial, "order.json"), json.dumps(kept).encode())
        sync_directory(partial)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        write_durably(marker, os.path.relpath(path, os.path.join(root, "attempts")).encode())
        os.rename(partial, path)
        sync_directory(os.path.dirname(path))
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(marker)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def argv_of(partial: str, path: str, kept: Document) -> List[str]:
    """The command of an order; a script's text is moved out of it into a file of its own."""
    if "argv" in kept:
        return list(kept["argv"])
    text, interpreter = kept.pop("script", None), kept["interpreter"]
    if text is not None:
        file = os.path.join(path, "script")
        write_durably(os.path.join(partial, "script"), text.encode(), 0o700)
    else:
        file = kept["file"]
        if os.access(file, os.X_OK):
            interpreter = []  # it names its own
    return list(interpreter + [file] + kept["args"])


def disk_words(root: str, error: OSError) -> str:
    """A disk's error for people."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk below %s is full (%s); make room there" % (root, error.strerror)
    return "%s gives an error: %s" % (root, error)


def find(root: str, request: Document) -> Document:
    """Which attempts are here. With a token, calls sent before are shut out first."""
    if request.get("token"):
        with planting(root):
            set_fence(root, request)
    os.stat(os.path.join(root, "attempts"))  # a missing disk is not a missing attempt
    held = []
    for ref in request["refs"]:
        try:
            os.stat(attempt_path(root, ref))
        except FileNotFoundError:
            continue
        held.append(ref)
    return {"held": held}


def observe(root: str, request: Document) -> Document:
    """How far attempts are, by name."""
    seen = {}
    for ref in request["refs"]:
        try:
            seen[ref] = look(root, attempt_path(root, ref))
        except Problem as problem:
            seen[ref] = {"stage": "missing", "message": str(problem)}
    return {"seen": seen}


def cancel(root: str, request: Document) -> Document:
    """Ask attempts to end; observe says when they have."""
    problems = {}
    for ref in request["refs"]:
        try:
            path = attempt_path(root, ref)
            if not os.path.isdir(path) or os.path.exists(os.path.join(path, "exit.json")):
                continue
            os.close(os.open(os.path.join(path, "cancel"), os.O_WRONLY | os.O_CREAT, 0o600))
            wake(root, path)
        except Problem as problem:
            problems[ref] = str(problem)
        except OSError as error:
            problems[ref] = disk_words(root, error)
    return {"problems": problems}


def wake(root: str, path: str) -> None:
    """Tell the supervisor at once; on another machine it sees the request by itself."""
    lock = take_lock(path, 0.0)
    if lock is not None:
        os.close(lock)
        look(root, path)  # starts a supervisor, which then only writes down the end
        return
    with open(os.path.join(path, "supervisor.lock")) as source:
        pid, _, host = source.read().partition(" ")
    if host == socket.gethostname() and pid.isdigit():
        # Another prober may hold the lock, and the number be that of a process long gone.
        with contextlib.suppress(OSError):
            if os.readlink("/proc/%s/cwd" % pid) == os.path.realpath(path):
                os.kill(int(pid), signal.SIGTERM)


LOGS = ("log.txt", "supervisor.log")


def inspect(root: str, request: Document) -> Document:
    """The logs of an attempt and their sizes, and what the runner of a process job told."""
    path = attempt_path(root, request["ref"])
    if not os.path.isdir(path):
        raise Problem("permanent", "there is no attempt directory %s" % path)
    sizes = {name: size_of(os.path.join(path, name)) for name in LOGS}
    ended = os.path.exists(os.path.join(path, "exit.json"))
    kind = (read_json(os.path.join(path, "order.json")) or {}).get("kind")
    told = read_json(os.path.join(path, "outcome.json"))
    told = told or read_json(os.path.join(path, "progress.json"))
    return {"logs": sizes, "path": path, "kind": kind, "over": ended, "told": told}


def log(root: str, request: Document) -> Tuple[Document, bytes]:
    """A piece of a log from an offset (negative: from the end), and whether the attempt is over."""
    path = attempt_path(root, request["ref"])
    if not os.path.isdir(path):
        raise Problem("permanent", "there is no attempt directory %s" % path)
    if request["part"] not in LOGS:
        raise Problem("permanent", "there is no log %r" % request["part"])
    # Asked before reading: what is written before the end is then certainly read.
    ended = os.path.exists(os.path.join(path, "exit.json"))
    name = os.path.join(path, request["part"])
    size = size_of(name)
    offset = request["offset"] if request["offset"] >= 0 else max(0, size + request["offset"])
    data = b""
    if size > offset:
        with open(name, "rb") as source:
            source.seek(offset)
            data = source.read(request["limit"])
    return {"offset": offset, "over": ended, "more": len(data) == request["limit"]}, data


VERBS = {"prepare": prepare, "plant": plant, "find": find, "observe": observe, "cancel": cancel}


def answer(root: str, request: Document) -> Tuple[Document, bytes]:
    """Carry out a request; problems become answers."""
    try:
        verb = request["verb"]
        if verb == "log":
            told, blob = log(root, request)
        elif verb == "inspect":
            told, blob = inspect(root, request), b""
        else:
            told, blob = VERBS[verb](root, request), b""
    except Problem as problem:
        return {"problem": str(problem), "kind": problem.kind}, b""
    except OSError as error:
        return {"problem": disk_words(root, error), "kind": "transient"}, b""
    told["ok"] = True
    return told, blob


def main() -> int:
    """Answer the request on standard input."""
    try:
        request = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    except ValueError:
        return 5  # cut off on its way: nothing was asked
    told, blob = answer(os.path.abspath(sys.argv[1]), request)
    data = json.dumps(told).encode()
    out = sys.stdout.buffer
    out.write(b"\n#cmd-answer %d %d\n" % (len(data), len(blob)))
    out.write(data)
    out.write(blob)
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
